"""Hostile files: very long images, links, programs with image names, YAML bombs, and cyclic versions."""

import json
import time

import numpy as np
import pytest
from made_runs import make_run
from PIL import Image

from mgclip import MGCLIP, Settings, history, undo
from mgclip.errors import InputError
from mgclip.experiment.branch_answers import BranchAnswers
from mgclip.experiment.final_evaluation import write_final
from mgclip.experiment.recipe import load_recipe
from mgclip.experiment.reproduce import load_table
from mgclip.images import MAX_RATIO, UnreadableImage, find_unreadable_images, open_image, to_rgb
from mgclip.report.page import write_report
from mgclip.stream.cifar import find_cifar100
from mgclip.stream.data import Split
from mgclip.stream.tasks import Task

FAR_TIFF = b"II\x2b\x00\x08\x00\x00\x00" + (1 << 50).to_bytes(8, "little")


def test_an_image_too_long_to_be_resized_is_refused(tmp_path):
    for number, size in enumerate([(1, MAX_RATIO + 1), (MAX_RATIO + 1, 1), (20_000, 1), (1, MAX_RATIO)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    (tmp_path / "4.tif").write_bytes(FAR_TIFF)
    files = sorted(tmp_path.iterdir())
    bad = find_unreadable_images(files)
    assert sorted(bad) == [0, 1, 2, 4]
    assert "20000 x 1 pixels: one side is more than 200 times as long as the other" in bad[2]
    assert open_image(files[3]).size == (1, MAX_RATIO)
    with pytest.raises(UnreadableImage, match=r"4\.tif cannot be read"):
        open_image(files[4])
    for image in (Image.new("L", (1, 500)), np.zeros((1, 500, 3), dtype=np.uint8), np.zeros((0, 5), dtype=np.uint8)):
        with pytest.raises(InputError, match=r"An image cannot be used: \d+ x \d+ pixels"):
            to_rgb(image)


def test_predict_skips_or_reports_long_images(tiny_clip, icons, tmp_path, mgclip):
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=1, head_epochs=1))
    model.learn(icons["x_train"][:24], icons["y_train"][:24], [str(name) for name in icons["class_names"][:2]])
    model.save_pretrained(tmp_path / "shop")
    (tmp_path / "see").mkdir()
    Image.new("RGB", (1, 20_000)).save(tmp_path / "see" / "long.png")
    Image.new("RGB", (30, 30)).save(tmp_path / "see" / "square.png")
    code, _, message = mgclip("predict", tmp_path / "shop", tmp_path / "see")
    assert (code, "long.png cannot be read" in message) == (2, True)
    code, out, _ = mgclip("predict", tmp_path / "shop", tmp_path / "see", "--on-bad-image", "skip")
    assert (code, "square.png" in out, "long.png" in out) == (0, True, False)


def test_a_report_does_not_run_a_program_with_the_name_of_an_image(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    started = []
    monkeypatch.setattr("PIL.EpsImagePlugin.EpsImageFile.load", lambda *_, **__: started.append(1))
    shown = json.loads((run / "mg-clip" / "final.json").read_text())["examples"]
    assert shown
    for example in shown:
        (run / "mg-clip" / example["file"]).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nx\n")
    with Image.open(run / "mg-clip" / shown[0]["file"]) as image:
        assert image.format == "EPS"
    write_report([run])
    assert not started


def test_links_in_a_run_are_not_written_through(tmp_path, mgclip):
    run, mine = make_run(tmp_path / "run"), tmp_path / "mine"
    mine.write_text("mine")
    (run / "report.html").symlink_to(mine)
    write_report([run])
    assert (mine.read_text(), (run / "report.html").is_symlink()) == ("mine", False)
    (tmp_path / "page.html").symlink_to(mine)
    assert mgclip("report", run, "--out", tmp_path / "page.html")[0] == 0
    assert mine.read_text().startswith("<!doctype html>")  # a link that the user names is followed


def test_links_among_examples_are_replaced(tmp_path):
    mine, picture = tmp_path / "mine", np.full((9, 9, 3), 7, dtype=np.uint8)
    mine.write_text("mine")
    (tmp_path / "run" / "examples").mkdir(parents=True)
    (tmp_path / "run" / "examples" / "000.png").symlink_to(mine)
    split = Split([picture, picture], np.array([0, 1]))
    labels, probabilities = np.array([0, 1]), np.array([0.9, 0.8], dtype=np.float32)
    answers = BranchAnswers(
        labels, probabilities, labels, probabilities, None, None, np.full((2, 4), -1), np.full((2, 4), np.nan)
    )
    write_final(tmp_path / "run", [Task(0, 0, ("a", "b"), ("a", "b"), split, split)], answers)
    assert mine.read_text() == "mine"
    assert np.asarray(Image.open(tmp_path / "run" / "examples" / "000.png")).max() == 7


def test_a_run_with_linked_folders_is_not_resumed(tmp_path, mgclip):
    run = tmp_path / "run"
    words = ("icons100", "tasks=2", "train_per_class=1", "test_per_class=1", "methods=zero-shot")
    assert mgclip("run", *words, "--quiet", "--out", run)[0] == 0
    (run / "zero-shot").rename(tmp_path / "elsewhere")
    (run / "zero-shot").symlink_to(tmp_path / "elsewhere")
    code, _, message = mgclip("run", "--resume", run)
    assert (code, "zero-shot is a symbolic link" in message) == (2, True)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
)


@pytest.mark.parametrize("text", [BOMB + "name: *l\n", BOMB + "about: *l\n", "a: &a {b: 1}\nc: &c {<<: [*a, *a]}\nname: x\n"])
def test_a_yaml_bomb_is_refused_at_once(tmp_path, text):
    file, begun = tmp_path / "x.yaml", time.monotonic()
    file.write_text(text)
    run = make_run(tmp_path / "run")
    (run / "recipe.yaml").write_text(text)
    for read in (load_recipe, load_table):
        with pytest.raises(InputError, match=r"aliases \(\*name\) are not allowed"):
            read(str(file))
    with pytest.raises(InputError, match=r"aliases \(\*name\) are not allowed"):
        write_report([run])
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("value", ["2024-13-45", "[" * 3000, "*x", "a: b: c"])
def test_a_change_that_is_not_yaml_is_text(value):
    assert load_recipe("icons100", [f"about={value}"]).about == value


def test_long_values_are_shortened_in_errors():
    with pytest.raises(InputError) as error:
        load_recipe("icons100", [f"seed=[{'1,' * 10_000}1]"])
    assert len(str(error.value)) < 1000


def test_an_archive_that_unpacks_to_too_many_bytes_is_refused(tmp_path, monkeypatch):
    import io
    import tarfile

    monkeypatch.setattr("mgclip.stream.cifar.MAX_BYTES", 1000)
    with tarfile.open(tmp_path / "cifar-100-python.tar.gz", "w:gz") as archive:
        for name in ("meta", "train", "test"):
            entry = tarfile.TarInfo(f"cifar-100-python/{name}")
            entry.size = 1001
            archive.addfile(entry, io.BytesIO(bytes(1001)))
    with pytest.raises(InputError, match="unpacks to more than 1000 bytes"):
        find_cifar100(tmp_path, test_only=False)


@pytest.fixture
def shop(tiny_clip, icons, tmp_path):
    """Three versions of a model."""
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=1, head_epochs=1))
    picked = np.isin(icons["y_train"], [0, 1])
    model.learn(icons["x_train"][picked], icons["y_train"][picked], [str(name) for name in icons["class_names"][:2]])
    for number in range(3):
        model.save_pretrained(tmp_path / "shop", note={"what": f"month {number}"})
    return tmp_path / "shop"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: (state / "mgclip.json").write_text(json.dumps({"state": state.name})),
        lambda state: (state / "mgclip.json").write_text((state / "mgclip.json").read_text().replace('"format": 2', '"format": 3')),
        lambda state: (state / "head.safetensors").unlink(),
        lambda state: (state / "adapter" / "adapter_model.safetensors").write_bytes(b"x"),
        lambda state: (state.rename(state.parent / "away"), state.symlink_to(state.parent / "away")),
    ],
    ids=["no format", "newer", "no head", "no adapter", "link"],
)  # fmt: skip
def test_a_version_that_cannot_be_loaded_is_not_activated(shop, spoil):
    spoil(shop / json.loads((shop / "mgclip.json").read_text())["versions"][1]["state"])
    before = (shop / "mgclip.json").read_bytes()
    with pytest.raises(InputError, match=r"Version 2 of .*shop is missing or damaged"):
        undo(shop)
    assert (shop / "mgclip.json").read_bytes() == before
    assert undo(shop, 1).number == 1


@pytest.mark.parametrize(
    "entry",
    [{"parent": 3}, {"parent": 7}, {"parent": [1]}, {"number": 2}, {"number": "3"}, {"note": 5}, {"state": "mgclip-state-../x"}],
)  # fmt: skip
def test_contradictory_versions_are_refused(shop, tmp_path, entry, mgclip):
    manifest = json.loads((shop / "mgclip.json").read_text())
    manifest["versions"][2].update(entry)
    (shop / "mgclip.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="is damaged"):
        history(shop)
    for words in (("history", shop), ("undo", shop), ("export", shop, "--to", tmp_path / "out")):
        code, _, message = mgclip(*words)
        assert (code, "is damaged" in message, "unexpected" in message) == (2, True, False)


@pytest.mark.parametrize(
    "note",
    [{"accuracy": 0.93}, {"accuracy": []}, {"classes": 5}, {"what": 3}, {"accuracy": {"new": "x"}, "images": "all"}],
)
def test_a_note_may_have_any_content(shop, tmp_path, note, mgclip):
    MGCLIP.from_pretrained(shop).save_pretrained(shop, note=note)
    assert history(shop)[-1].note == note
    for words in (("history", shop), ("export", shop, "--to", tmp_path / "out"), ("undo", shop)):
        code, _, message = mgclip(*words)
        assert (code, message.count("unexpected")) == (0, 0)


def test_only_settings_of_memory_and_speed_may_change(shop):
    assert MGCLIP.from_pretrained(shop, runtime={"micro_batch_size": 2}).settings.micro_batch_size == 2
    with pytest.raises(InputError, match="may change; found rank"):
        MGCLIP.from_pretrained(shop, runtime={"rank": 2})
    with pytest.raises(InputError, match="micro_batch_size must be at least 1; found 0"):
        MGCLIP.from_pretrained(shop, runtime={"micro_batch_size": 0})
