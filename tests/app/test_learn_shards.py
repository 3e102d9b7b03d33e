"""``mgclip learn`` with shards, as a user calls it."""

import json
import re
from pathlib import Path

import pytest
from forked import program
from PIL import Image
from shards import members, png, write_parquet, write_tar

from mgclip import MGCLIP
from mgclip.stream.shards import READERS, find_shards
from mgclip.stream.tar_shards import tar_items
from mgclip.workflows import learn_shards
from mgclip.workflows.held_out import read_held_out


@pytest.fixture
def place(icons, tmp_path):
    """Two training shards of three classes and one to measure on; the drawings of two more classes."""
    names = [str(name) for name in icons["class_names"]]
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(2):
        rows = [12 * c + 6 * number + i for c in range(3) for i in range(4)]
        write_tar(folder / f"train-{number}.tar", members(icons["x_train"][rows], [names[row // 12] for row in rows]))
    write_tar(folder / "test-0.tar", members(icons["x_test"][:16], [names[row // 4] for row in range(16)]))
    rows = [*range(36, 40), *range(48, 52)]
    write_parquet(tmp_path / "more.parquet", icons["x_train"][rows], [names[row // 12] for row in rows])
    return tmp_path


def versions(model):
    return json.loads((model / "mgclip.json").read_text())["versions"] if (model / "mgclip.json").exists() else []


def test_learn_shards_then_more_then_predict(mgclip, place, icons):
    model, shards = place / "model", place / "shards"
    code, out, _ = mgclip("learn", shards, "--model", model, "--base", "iconclip", "--dry-run")
    assert (code, out) == (0, "to learn: 2 shards; to measure on: 1 shard\n")
    assert not model.exists()
    code, out, _ = mgclip("learn", shards, "--model", model, "--base", "iconclip", "features=64", "--json", "--quiet")
    report = json.loads(out)
    assert (code, report["images"], report["classes_in_all"], report["epochs"]) == (0, 24, 3, 0)
    assert report["test_images"] == {"new": 12, "old": 0, "gone": 0}  # the fourth class is not known
    assert report["accuracy"]["new"] == report["branches"]["model"] > 0.7
    assert report["leave_one_out"] > 0.7
    code, out, _ = mgclip("learn", place / "more.parquet", "--model", model, "--test", shards / "test-0.tar")
    assert code == 0
    assert "learned 2 classes from 8 images, no adapters trained" in out and f"{model} knows 5 classes" in out
    assert " of 16 test images" in out and "leave-one-out accuracy" in out
    code, out, _ = mgclip("learn", f"{shards}/train-{{0..1}}.tar", "--model", model)
    assert code == 2
    Image.fromarray(icons["x_train"][0]).save(place / "one.png")
    code, out, _ = mgclip("predict", model, place / "one.png")
    assert code == 0 and str(icons["class_names"][0]) in out
    assert mgclip("history", model)[0] == 0
    assert [version["note"]["what"] for version in versions(model)] == ["learned 3 classes", "learned 2 classes"]
    assert not list(model.glob(".mgclip-progress-*"))


def test_a_damaged_shard_ends_the_command_and_the_next_one_resumes(mgclip, place, monkeypatch):
    model, shard = place / "model", place / "shards" / "train-1.tar"
    complete = shard.read_bytes()
    shard.write_bytes(complete[: len(complete) // 2])
    words = ("learn", place / "shards", "--model", model, "--base", "iconclip", "features=64", "gamma=2.0")
    code, out, err = mgclip(*words)
    assert code == 2
    assert re.search(rf"The shard {re.escape(str(shard))} cannot be read after \d\.png \(.*\): replace it or leave it out\.", err)
    assert versions(model) == []
    shard.write_bytes(complete)
    read = []
    monkeypatch.setitem(READERS, ".tar", lambda name, label: read.append(Path(name).name) or tar_items(name, label))
    code, out, _ = mgclip(*words)
    assert code == 0 and "learned 3 classes from 24 images" in out
    assert read == ["train-1.tar", "test-0.tar"], "the first shard was complete"


TERMINATED = """
import os, signal, sys
from mgclip.app.main import main
from mgclip.stream.shards import READERS
from mgclip.stream.tar_shards import tar_items

def read(name, label):
    if name.endswith("train-1.tar"):
        os.kill(os.getpid(), signal.SIGTERM)
    yield from tar_items(name, label)

READERS[".tar"] = read
sys.argv[0] = "mgclip"
main()
"""


def test_a_command_that_is_terminated_says_how_it_resumes(mgclip, place):
    model = place / "model"
    words = ("learn", place / "shards", "--model", model, "--base", "iconclip", "features=64", "gamma=2.0")
    stopped = program(TERMINATED, *words)
    assert stopped.returncode == 1
    said = " ".join((stopped.stdout + stopped.stderr).split())
    assert "has no new version. Run the same command again to resume after the last complete shard." in said
    assert versions(model) == [] and len(list(model.glob(".mgclip-progress-*/part-*"))) == 1
    code, out, _ = mgclip(*words)
    assert code == 0 and "learned 3 classes from 24 images" in out


@pytest.mark.parametrize("folder", [False, True])
def test_a_command_that_is_stopped_after_the_save_says_that_there_is_a_new_version(mgclip, place, monkeypatch, icons, folder):
    from mgclip.saving import store

    if folder:
        for name in icons["class_names"][:2]:
            (place / "photos" / str(name)).mkdir(parents=True)
            Image.fromarray(icons["x_train"][0]).save(place / "photos" / str(name) / "0.png")

    def stop(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "remove_states", stop)
    words = ("learn", place / ("photos" if folder else "shards"), "--model", place / "model", "--base", "iconclip", "features=64")
    code, _, err = mgclip(*words)
    assert code == 1 and len(versions(place / "model")) == 1
    assert f"Stopped after {place / 'model'} had its new version." in " ".join(err.split())


def test_test_images_that_were_learned_are_counted(mgclip, place):
    words = ("learn", place / "shards", "--model", place / "model", "--base", "iconclip", "features=64")
    code, out, _ = mgclip(*words, "--test", place / "shards" / "train-0.tar")
    assert code == 0
    assert "12 of 12 test images are also training images, so accuracy on them says little" in out
    code, out, _ = mgclip("learn", place / "more.parquet", "--model", place / "model", "--test", place / "shards")
    assert code == 0 and "accuracy" in out and "test images" in out
    assert "also training images" not in out


def test_held_out_images_that_shards_contain_are_no_longer_measured(mgclip, place, icons):
    names = [str(name) for name in icons["class_names"][:2]]
    for row in range(24):
        (place / "march" / names[row // 12]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(icons["x_train"][row]).save(place / "march" / names[row // 12] / f"{row}.png")
    model = place / "model"
    assert mgclip("learn", place / "march", "--model", model, "--base", "iconclip", "features=64")[0] == 0
    held = [image.path for own in read_held_out(model).values() for image in own]
    assert len(held) == 4
    gone = held.pop()
    gone.unlink()
    rows = [int(path.stem) for path in held]
    write_tar(place / "may.tar", members(icons["x_train"][rows], [names[row // 12] for row in rows]))
    code, out, _ = mgclip("learn", place / "may.tar", "--model", model)
    assert code == 0
    assert "no longer held out, because the model has learned them or they cannot be read: 3 images" in " ".join(out.split())
    assert [image.path for own in read_held_out(model).values() for image in own] == [gone]


def test_without_anything_to_measure_on_no_option_is_advised_that_shards_refuse(mgclip, place, icons):
    write_tar(place / "few.tar", members(icons["x_train"][[0, 12]], ["bell", "cat"]))
    code, out, _ = mgclip("learn", place / "few.tar", "--model", place / "model", "--base", "iconclip", "features=64")
    assert code == 0
    assert "accuracy: not measured, because no image was held out: give test images with --test" in " ".join(out.split())


def test_names_of_classes_that_are_not_in_the_shards_are_listed(mgclip, place, icons):
    known = str(icons["class_names"][0])
    words = ("learn", place / "shards", "--model", place / "model", "--base", "iconclip", "features=64")
    code, out, _ = mgclip(*words, "--names", f"{known}=first,n0001=tench")
    assert code == 0
    assert "in the table of class names, but not in the shards: tench" in out
    assert "first" in MGCLIP.from_pretrained(place / "model").class_names


def test_shards_that_are_left_out_are_counted(mgclip, place, icons):
    write_tar(place / "shards" / "extra.tar", members(icons["x_train"][:1], ["bell"]))
    code, out, _ = mgclip("learn", place / "shards", "--model", place / "model", "--base", "iconclip", "--dry-run")
    assert (code, out.splitlines()[1:]) == (0, ["left out, with neither train nor test in their names: 1 shard"])


def test_a_shard_that_has_changed_since_is_read_again(mgclip, place, icons):
    model, (first, second) = place / "model", [place / "shards" / f"train-{number}.tar" for number in range(2)]
    complete = second.read_bytes()
    second.write_bytes(complete[: len(complete) // 2])
    words = ("learn", place / "shards", "--model", model, "--base", "iconclip", "gamma=2.0")
    assert mgclip(*words)[0] == 2
    assert len(list(model.glob(".mgclip-progress-*/part-*"))) == 1
    second.write_bytes(complete)
    write_tar(first, members(icons["x_train"][[0, 12, 24]], [str(icons["class_names"][label]) for label in range(3)]))
    code, out, _ = mgclip(*words)
    assert code == 0 and "learned 3 classes from 15 images" in out


def test_copies_in_shards_are_counted(mgclip, place, icons):
    names = [str(name) for name in icons["class_names"]]
    rows = [0, 0, 12, 1]
    write_tar(place / "shards" / "train-2.tar", members(icons["x_train"][rows], [names[0], names[0], names[1], names[2]]))
    code, out, _ = mgclip("learn", place / "shards", "--model", place / "model", "--base", "iconclip", "gamma=2.0")
    assert code == 0 and "learned 3 classes from 28 images" in out
    assert "learned again, because other images in the shards have the same pixels: 4 images" in out
    assert "learned in more than one class each: 1 image" in out


def test_a_shard_of_which_nothing_is_known_is_mentioned(mgclip, place, monkeypatch):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({f"/unknown/train-{n}.tar": (place / "shards" / f"train-{n}.tar").read_bytes() for n in range(2)})
    words = ("learn", "memory://unknown/*.tar", "--model", place / "model", "--base", "iconclip", "--dry-run")
    assert "would not be noticed" not in mgclip(*words)[1]
    monkeypatch.setattr(type(memory), "info", lambda system, path: {"name": path, "size": 10240, "type": "file"})
    code, out, _ = mgclip(*words)
    assert code == 0
    assert "only the name or the size is known: 2 shards" in " ".join(out.split())


def test_sums_over_other_classes_of_the_same_shards_are_not_resumed(mgclip, place, icons):
    """An interrupted command that read the classes from one key says nothing about another one."""
    folder, model = place / "two", place / "model"
    folder.mkdir()
    for number in range(2):
        rows = [*range(4 * number, 4 * number + 4), *range(12 + 4 * number, 16 + 4 * number)]
        content = [
            each
            for n, row in enumerate(rows)
            for each in (
                (f"{n}.png", png(icons["x_train"][row])),
                (f"{n}.json", {"one": "ab"[row // 12], "two": "xy"[n % 2]} if number == 0 or n else {"two": "x"}),
            )
        ]
        write_tar(folder / f"train-{number}.tar", content)
    words = ("learn", folder, "--model", model, "--base", "iconclip", "features=64", "gamma=2.0", "--json", "--quiet", "--label")
    assert mgclip(*words, "one")[0] == 2, "the second shard has no such class"
    assert len(list(model.glob(".mgclip-progress-*/part-*"))) == 1
    code, out, err = mgclip(*words, "two")
    assert code == 0, err
    assert json.loads(out)["classes"] == ["x", "y"]


def test_the_second_of_two_first_learns_from_shards_continues_from_the_first(place, icons, monkeypatch):
    """The second one begins before the model exists, and waits for the lock."""
    model, locked = place / "model", learn_shards.only_writer
    first, second = (
        learn_shards.read_shard_job(str(at), find_shards(str(at)), model, base="iconclip", changes=changes)
        for at, changes in ((place / "shards", ["features=64"]), (place / "more.parquet", []))
    )

    def after_the_first(folder, *, wait, advice):
        monkeypatch.setattr(learn_shards, "only_writer", locked)
        with first.begin(wait=0) as opened:
            first.learn(*opened)
        return locked(folder, wait=wait, advice=advice)

    monkeypatch.setattr(learn_shards, "only_writer", after_the_first)
    with second.begin(wait=0) as opened:
        second.learn(*opened)
    names = [str(name) for name in icons["class_names"][:5]]
    assert MGCLIP.from_pretrained(model).class_names == (*sorted(names[:3]), *sorted(names[3:]))


def test_bad_images_and_shards_are_skipped_and_listed(mgclip, place):
    model, folder = place / "model", place / "shards"
    write_tar(folder / "train-2.tar", [("7.png", b"none"), ("7.cls", "bell")])
    (folder / "train-3.tar").write_bytes(b"none" * 500)
    words = ("learn", folder, "--model", model, "--base", "iconclip", "features=64", "gamma=2.0")
    code, _, err = mgclip(*words)
    assert code == 2
    assert f"The image {folder}/train-2.tar: 7.png cannot be read (not an image in a supported format)" in err
    code, out, _ = mgclip(*words, "--on-bad-image", "skip", "--json")
    assert code == 0
    report = json.loads(out.splitlines()[-1])
    assert report["images"] == 24
    assert [each["image"] for each in report["skipped"]] == [f"{folder}/train-2.tar: 7.png", f"{folder}/train-3.tar"]
    assert report["skipped"][1]["reason"].startswith("it cannot be read: ")


def test_of_a_truncated_shard_it_is_said_how_much_was_learned(mgclip, place):
    """Also of one to measure on."""
    model, folder = place / "model", place / "shards"
    for name in ("train-1.tar", "test-0.tar"):
        complete = (folder / name).read_bytes()
        (folder / name).write_bytes(complete[: len(complete) // 2])
    words = ("learn", folder, "--model", model, "--base", "iconclip", "features=64", "gamma=2.0", "--on-bad-image", "skip")
    code, out, _ = mgclip(*words)
    out = " ".join(out.split())
    assert code == 0
    learned = int(re.search(r"learned 3 classes from (\d+) images", out)[1]) - 12
    tested = int(re.search(r"accuracy: .* of (\d+) test images", out)[1])
    assert 0 < learned < 12 and 0 < tested < 12
    assert f"skipped: {folder}/train-1.tar ({learned} images of it were learned, and the rest cannot be read: " in out
    assert f"skipped: {folder}/test-0.tar ({tested} images of it were measured, and the rest cannot be read: " in out
    assert out.count("train-1.tar") == 1
    note = versions(model)[-1]["note"]
    assert [Path(each["image"]).name for each in note["skipped"]] == ["train-1.tar", "test-0.tar"]


def test_a_missing_shard_of_a_range_ends_the_command_before_anything_is_learned(mgclip, place):
    model, folder = place / "model", place / "shards"
    code, out, err = mgclip(
        "learn", f"{folder}/train-{{0..2}}.tar", "--model", model, "--base", "iconclip", "--on-bad-image", "skip"
    )
    assert (code, out) == (2, "")
    assert f"The shard {folder}/train-2.tar cannot be opened (No such file or directory): restore it, or leave it out" in err
    words = ("learn", folder, "--model", model, "--base", "iconclip", "--test", f"{folder}/test-{{0..1}}.tar")
    code, out, err = mgclip(*words)
    assert (code, out) == (2, "")
    assert f"The shard {folder}/test-1.tar cannot be opened" in err
    assert not model.exists()


def test_a_shard_without_classes_is_not_skipped(mgclip, place, icons):
    folder = place / "shards"
    write_tar(folder / "train-2.tar", [("cat/7.png", png(icons["x_train"][0]))])
    words = ("learn", folder, "--model", place / "model", "--base", "iconclip", "gamma=2.0", "--on-bad-image", "skip")
    code, _, err = mgclip(*words)
    assert code == 2
    assert "train-2.tar has no class: expected its name in 7.cls or 7.txt, or in 7.json as one of the keys" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--retention", "x"), "contains shards, and --retention is for folders of images: leave it out."),
        (("--keep-features", "x"), "contains shards, and --keep-features is for folders of images: leave it out."),
        (("--hold-out", "0.5"), "contains shards, and --hold-out is for folders of images: leave it out."),
        (("--merge-names",), "contains shards, and --merge-names is for folders of images: leave it out."),
        (("--test", "nowhere"), "There are no shards at nowhere: with shards to learn from, --test takes shards too."),
        (("--method", "mg-clip"), "A trained head needs each image several times, and shards are read once: start a new model"),
        (("adapt=first",), "With adapt: first adapters are trained, which needs each image several times"),
        (
            ("--label", "kind"),
            "has no class: expected the member 0.kind, or the key 'kind' in 0.json; found 0.cls: add the class",
        ),
    ],
)
def test_what_shards_cannot_do_is_said_before_anything_is_written(mgclip, place, words, why):
    code, _, err = mgclip("learn", place / "shards", "--model", place / "model", "--base", "iconclip", *words)
    assert code == 2
    assert why in err
    assert versions(place / "model") == []


def test_models_of_separate_shards_merge_into_the_model_of_all(mgclip, place):
    """They share the width of the kernel: that of the first one."""
    folder, learn = place / "shards", lambda shards, to, *more: mgclip("learn", shards, "--model", place / to, *more)[0]
    assert learn(folder / "train-0.tar", "a", "--base", "iconclip", "features=64") == 0
    assert learn(folder / "train-1.tar", "b", "--like", place / "a") == 0
    assert mgclip("merge", place / "a", place / "b", "--to", place / "both")[0] == 0
    width = MGCLIP.from_pretrained(place / "a").solved.fourier.gamma
    assert learn(f"{folder}/train-*.tar", "all", "--base", "iconclip", "features=64", f"gamma={width!r}") == 0
    merged, expected = (MGCLIP.from_pretrained(place / name) for name in ("both", "all"))
    assert set(merged.class_names) == set(expected.class_names)
    order = [merged.class_names.index(name) for name in expected.class_names]
    largest = expected.solved.weights.abs().max()
    assert (merged.solved.weights[:, order] - expected.solved.weights).abs().max() <= 1e-8 * largest
    assert merged.solved.calibration.head == pytest.approx(expected.solved.calibration.head, rel=1e-5)
    assert sorted(merged.solved.learned.marks.tolist()) == sorted(expected.solved.learned.marks.tolist())


def test_another_list_of_class_names_is_not_mixed_with_the_one_before(mgclip, place, icons):
    """After an interruption, the numbers in finished shards mean what the list says now."""
    folder, model = place / "numbered", place / "model"
    folder.mkdir()
    for number in range(2):
        rows = [*range(4 * number, 4 * number + 4), *range(12 + 4 * number, 16 + 4 * number)]
        write_tar(folder / f"{number}.tar", members(icons["x_train"][rows], [str(row // 12) for row in rows]))
    (folder / "classes.txt").write_text("one\ntwo\n")
    complete = (folder / "1.tar").read_bytes()
    (folder / "1.tar").write_bytes(complete[: len(complete) // 2])
    words = ("learn", folder, "--model", model, "--base", "iconclip", "features=64", "gamma=2.0", "--json", "--quiet")
    assert mgclip(*words)[0] == 2
    assert len(list(model.glob(".mgclip-progress-*/part-*"))) == 1
    (folder / "1.tar").write_bytes(complete)
    (folder / "classes.txt").write_text("two\none\n")
    code, _, err = mgclip(*words)
    assert code == 0, err
    found = MGCLIP.from_pretrained(model).learned_as(icons["x_train"][[0, 4, 12, 16]])
    assert found == [("two",)] * 2 + [("one",)] * 2


def test_folders_and_addresses_without_shards(mgclip, place):
    (place / "photos" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(place / "photos" / "cat" / "1.png")
    code, _, err = mgclip("learn", place / "photos", "--model", place / "model", "--base", "iconclip", "--label", "x")
    assert (code, "--label is for shards, and" in err) == (2, True)
    code, _, err = mgclip("learn", "https://example.org/images.zip", "--model", place / "model", "--base", "iconclip")
    assert code == 2
    assert "No shard matches https://example.org/images.zip: expected files that end with .parquet, .tar" in err
