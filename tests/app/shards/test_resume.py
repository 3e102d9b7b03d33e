"""``mgclip learn`` with shards that is stopped, called again, or finds damage."""

import json
import re
import shutil
from pathlib import Path

import pytest
from forked import program
from PIL import Image
from shards import members, png, write_tar

from mgclip import MGCLIP
from mgclip.stream.shards import READERS, find_shards
from mgclip.stream.tar_shards import tar_items
from mgclip.workflows import learn_shards, taught_model
from mgclip.workflows.edit_model import forget_class


def versions(model):
    return json.loads((model / "mgclip.json").read_text())["versions"] if (model / "mgclip.json").exists() else []


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
    if name.endswith(sys.argv[0]):
        os.kill(os.getpid(), signal.SIGTERM)
    yield from tar_items(name, label)

READERS[".tar"] = read
sys.argv.pop(0)
main()
"""


def test_a_command_that_is_terminated_says_how_it_resumes(mgclip, place):
    model = place / "model"
    words = ("learn", place / "shards", "--model", model, "--base", "iconclip", "features=64", "gamma=2.0")
    stopped = program(TERMINATED, "train-0.tar", *words)
    said = " ".join((stopped.stdout + stopped.stderr).split())
    assert stopped.returncode == 1 and said.endswith("has no new version. Run the same command again."), "no shard was complete"
    stopped = program(TERMINATED, "train-1.tar", *words)
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
    assert f"Stopped after the new version of {place / 'model'} was saved." in " ".join(err.split())


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
    model, locked = place / "model", taught_model.only_writer
    first, second = (
        learn_shards.read_shard_job(
            str(at), find_shards(str(at)), taught_model.read_taught_model(model, base="iconclip", changes=changes)
        )
        for at, changes in ((place / "shards", ["features=64"]), (place / "more.parquet", []))
    )

    def after_the_first(folder, *, wait, advice):
        monkeypatch.setattr(taught_model, "only_writer", locked)
        with first.begin(wait=0) as opened:
            first.learn(*opened)
        return locked(folder, wait=wait, advice=advice)

    monkeypatch.setattr(taught_model, "only_writer", after_the_first)
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


def test_sums_under_other_names_of_the_classes_are_not_resumed(mgclip, place, icons):
    model, second, old = place / "model", place / "shards" / "train-1.tar", str(icons["class_names"][0])
    complete = second.read_bytes()
    second.write_bytes(complete[: len(complete) // 2])
    words = ("learn", place / "shards", "--model", model, "--base", "iconclip", "features=64", "gamma=2.0", "--json", "--quiet")
    assert mgclip(*words, "--names", f"{old}=mistaken")[0] == 2
    assert len(list(model.glob(".mgclip-progress-*/part-*"))) == 1
    second.write_bytes(complete)
    code, out, err = mgclip(*words, "--names", f"{old}=right")
    assert code == 0, err
    assert json.loads(out)["classes"] == sorted(["right", *map(str, icons["class_names"][1:3])])


@pytest.mark.parametrize("changed", [False, True])
def test_sums_for_a_model_that_has_changed_since_are_not_resumed(mgclip, place, icons, monkeypatch, changed):
    """They leave out the images that it had learned, of which it may have forgotten some."""
    model, first, second = place / "model", *(place / "shards" / f"train-{number}.tar" for number in range(2))
    shutil.copytree(place / "shards", place / "some")
    write_tar(place / "some" / "train-1.tar", members(icons["x_train"][[36, 48]], [str(icons["class_names"][c]) for c in (3, 4)]))
    assert mgclip("learn", place / "some", "--model", model, "--base", "iconclip", "features=64", "gamma=2.0")[0] == 0
    write_tar(first, members(icons["x_train"][[0, 9, 10, 12]], [str(icons["class_names"][c]) for c in (0, 0, 0, 1)]))
    complete = second.read_bytes()
    second.write_bytes(complete[: len(complete) // 2])
    words = ("learn", place / "shards", "--model", model)
    assert mgclip(*words)[0] == 2
    assert len(list(model.glob(".mgclip-progress-*/part-*"))) == 1
    second.write_bytes(complete)
    if changed:
        forget_class(model, str(icons["class_names"][0]))
    read = []
    monkeypatch.setitem(READERS, ".tar", lambda name, label: read.append(Path(name).name) or tar_items(name, label))
    code, out, err = mgclip(*words, "--json", "--quiet")
    assert code == 0, err
    assert ("train-0.tar" in read) == changed
    assert json.loads(out)["images"] == (3 if changed else 2) + 12
    assert not list(model.glob(".mgclip-progress-*"))
