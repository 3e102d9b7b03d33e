"""Unreadable images stop a command, or are skipped and listed, and change nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mgclip.experiment.run_folder import read_records
from mgclip.workflows.held_out import read_held_out

RUN = ("folder", "epochs=1", "class_order=[0, 1, 2, 3]", "classes_per_task=2", "adapter_batch_size=4", "--quiet")


@pytest.fixture
def folders(tmp_path, icons):
    """The same images twice: alone, and with four more files that are not images."""
    for part, count in (("train", 6), ("test", 2)):
        for c, name in enumerate(("cat", "dog", "cow", "owl")):
            place = tmp_path / "good" / part / name
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(icons["x_train"][12 * c + i]).save(place / f"{i}.png")
    shutil.copytree(tmp_path / "good", tmp_path / "bad")
    torn = (tmp_path / "good" / "train" / "cat" / "0.png").read_bytes()[:200]
    bad = {"train/cat/0a.png": torn, "train/owl/9.jpg": b"", "test/dog/0a.gif": b"GIF89a", "test/dog/x.png": b"<html>"}
    for name, content in bad.items():
        (tmp_path / "bad" / name).write_bytes(content)
    return tmp_path, sorted(str(tmp_path / "bad" / name) for name in bad)


def weights(run, method):
    state = run / method / "model" / json.loads((run / method / "model" / "mgclip.json").read_text())["state"]
    return {str(file.relative_to(state)): file.read_bytes() for file in sorted(state.rglob("*.safetensors"))}


def test_a_run_stops_at_an_unreadable_image_or_skips_and_lists_it(folders, tiny_clip, mgclip):
    place, bad = folders
    methods = "methods=mg-clip,joint"
    words = (*RUN, methods, f"clip={tiny_clip}")
    assert mgclip("run", *words, f"data_path={place / 'good'}", "--out", place / "a")[0] == 0
    code, _, output = mgclip("run", *words, f"data_path={place / 'bad'}", "--out", place / "b")
    assert (code, "Traceback" in output) == (2, False)
    assert f"The image {bad[2]} cannot be read" in output or f"The image {bad[3]} cannot be read" in output
    skip = (*words, f"data_path={place / 'bad'}", "on_bad_image=skip")
    assert mgclip("run", *skip, "--out", place / "c")[0] == 0
    for method in ("mg-clip", "joint"):
        assert weights(place / "c", method) == weights(place / "a", method)
        listed = [each["image"] for record in read_records(place / "c" / method) for each in record["skipped"]]
        assert sorted(listed) == bad
    assert sorted(each["image"] for each in json.loads((place / "c" / "skipped.json").read_text())) == bad
    first, second = read_records(place / "c" / "mg-clip")
    assert [each["image"] for each in first["skipped"]] == [bad[2]]
    reasons = {each["image"]: each["reason"] for each in second["skipped"]}
    assert reasons == dict.fromkeys((bad[0], bad[1], bad[3]), "not an image in a supported format")
    assert (first["train_images"], first["test_images"]) == (12, 4)


def test_a_resumed_run_skips_the_same_images(folders, tiny_clip, mgclip):
    place, _ = folders
    words = ("run", *RUN, f"clip={tiny_clip}", f"data_path={place / 'bad'}", "on_bad_image=skip")
    assert mgclip(*words, "--out", place / "a")[0] == 0
    shutil.copytree(place / "a", place / "b")
    shutil.rmtree(place / "b" / "mg-clip")
    assert mgclip("run", "--resume", place / "b", "--quiet")[0] == 0
    assert weights(place / "b", "mg-clip") == weights(place / "a", "mg-clip")
    (place / "b" / "skipped.json").write_text("[{}]")
    shutil.rmtree(place / "b" / "mg-clip")
    code, _, output = mgclip("run", "--resume", place / "b", "--quiet")
    assert code == 2
    assert "skipped.json is damaged" in output


def test_a_class_without_readable_images_is_refused(folders, tiny_clip, mgclip):
    place, _ = folders
    for file in (place / "bad" / "train" / "cow").iterdir():
        file.write_bytes(b"no")
    skip = (*RUN, f"clip={tiny_clip}", f"data_path={place / 'bad'}", "on_bad_image=skip", "--out", place / "x")
    code, _, output = mgclip("run", *skip)
    assert (code, "No training image of the class 'cow' can be read" in output) == (2, True)
    assert not (place / "x").exists()
    learn = ("learn", place / "bad", "--model", place / "m", "--base", tiny_clip, "--on-bad-image", "skip")
    code, _, output = mgclip(*learn)
    assert (code, "No image of the class 'cow' can be read" in output, (place / "m").exists()) == (2, True, False)


def test_retention_skips_unreadable_images(folders, tiny_clip, mgclip):
    place, bad = folders
    words = ("run", *RUN, "tasks=1", f"clip={tiny_clip}", f"data_path={place / 'good'}")
    sets = f"retention={{folder: '{place / 'bad'}'}}"
    assert mgclip(*words, sets, "--out", place / "a")[0] == 2
    assert mgclip(*words, sets, "on_bad_image=skip", "--out", place / "b")[0] == 0
    listed = json.loads((place / "b" / "skipped.json").read_text())
    assert [each["image"] for each in listed] == [name for name in bad if "/test/" in name]
    assert {each["part"] for each in listed} == {"folder"}


def test_learn_and_evaluate_skip_unreadable_images(folders, tiny_clip, mgclip):
    place, bad = folders
    learn = ("--base", tiny_clip, "--method", "mg-clip", "epochs=1", "head_epochs=1", "--json", "--quiet")
    assert mgclip("learn", place / "good", "--model", place / "a", *learn)[0] == 0
    code, _, output = mgclip("learn", place / "bad", "--model", place / "b", *learn)
    assert (code, "cannot be read" in output) == (2, True)
    code, output, _ = mgclip("learn", place / "bad", "--model", place / "b", *learn, "--on-bad-image", "skip")
    assert code == 0
    assert sorted(each["image"] for each in json.loads(output)["skipped"]) == bad
    first, second = (json.loads((place / name / "mgclip.json").read_text()) for name in "ab")
    for file in ("head.safetensors", "adapter/adapter_model.safetensors"):
        assert (place / "a" / first["state"] / file).read_bytes() == (place / "b" / second["state"] / file).read_bytes()
    code, _, output = mgclip("evaluate", place / "b", place / "bad")
    assert (code, "cannot be read" in output) == (2, True)
    code, output, _ = mgclip("evaluate", place / "b", place / "bad", "--on-bad-image", "skip", "--json")
    assert code == 0
    assert [each["image"] for each in json.loads(output)["skipped"]] == [name for name in bad if "/test/" in name]
    assert json.loads(output)["images"] == 8


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files"), OSError(5, "Input/output error")])
def test_a_fault_of_the_machine_is_not_an_unreadable_image(folders, monkeypatch, error):
    from PIL import Image as pillow

    from mgclip.images import find_unreadable_images

    place, _ = folders

    def failing(*args, **options):
        raise error

    monkeypatch.setattr(pillow, "open", failing)
    with pytest.raises(type(error)):
        find_unreadable_images(sorted((place / "good").rglob("*.png")))


def test_a_missing_list_of_skipped_images_is_reported(folders, tiny_clip, mgclip):
    place, _ = folders
    words = ("run", *RUN, "tasks=1", f"clip={tiny_clip}", f"data_path={place / 'bad'}", "on_bad_image=skip")
    assert mgclip(*words, "--out", place / "a")[0] == 0
    (place / "a" / "skipped.json").unlink()
    code, _, output = mgclip("run", "--resume", place / "a", "--quiet")
    assert (code, "leaves out images but has no skipped.json" in output) == (2, True)


def test_a_damaged_held_out_image_is_not_measured_on(folders, tiny_clip, mgclip):
    place, _ = folders
    march, april = place / "march", place / "april"
    for month, names in ((march, ("cat", "dog")), (april, ("cow", "owl"))):
        for name in names:
            shutil.copytree(place / "good" / "train" / name, month / name)
            for file in sorted((month / name).glob("*.png")):
                Image.open(file).convert("RGB").save(file.with_suffix(".jpg"))
                file.unlink()
    assert mgclip("learn", march, "--model", place / "m", "--base", tiny_clip, "features=16", "--quiet")[0] == 0
    torn = read_held_out(place / "m")["cat"][0].path
    torn.write_bytes(torn.read_bytes()[:300])
    code, output, _ = mgclip("learn", april, "--model", place / "m", "--json", "--quiet")
    assert code == 0
    assert json.loads(output)["test_images"]["gone"] == 1


def test_files_of_the_user_are_not_mistaken_for_an_unfinished_run(folders, tiny_clip, mgclip):
    place, _ = folders
    (place / "mine").mkdir()
    (place / "mine" / "data.json").write_text('{"my": "data"}')
    words = ("run", *RUN, "tasks=1", f"clip={tiny_clip}", f"data_path={place / 'good'}", "--out")
    assert mgclip(*words, place / "mine")[0] == 2
    assert (place / "mine" / "data.json").read_text() == '{"my": "data"}'
    assert mgclip(*words, place / "a")[0] == 0
    (place / "left").mkdir()
    for name in ("data.json", "environment.json"):
        shutil.copy(place / "a" / name, place / "left" / name)
    assert mgclip(*words, place / "left")[0] == 0


def test_a_table_is_written_through_links_and_into_devices(folders, tiny_clip, mgclip):
    place, _ = folders
    assert mgclip("learn", place / "good", "--model", place / "m", "--base", tiny_clip, "features=16", "--quiet")[0] == 0
    (place / "real.csv").write_text("old")
    (place / "link.csv").symlink_to(place / "real.csv")
    assert mgclip("evaluate", place / "m", place / "good", "--csv", place / "link.csv")[0] == 0
    assert (place / "link.csv").is_symlink()
    assert (place / "real.csv").read_text().startswith("image,class,")
    assert mgclip("evaluate", place / "m", place / "good", "--csv", "/dev/null")[0] == 0
    assert not Path("/dev/null").is_file()


@pytest.mark.slow
def test_two_processes_skip_the_same_images(folders, tiny_clip):
    place, bad = folders
    words = [*RUN, f"clip={tiny_clip}", f"data_path={place / 'bad'}", "on_bad_image=skip", "--out", str(place / "two")]
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "mgclip",
        "run",
    ]
    subprocess.run([*launch, *words], check=True, timeout=300)
    assert sorted(each["image"] for each in json.loads((place / "two" / "skipped.json").read_text())) == bad
