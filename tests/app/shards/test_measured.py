"""What `mgclip learn` measures on test shards, and in which precision it encodes images."""

import json

import pytest
from forked import mgclip as forked_mgclip
from forked import programs
from icon_shards import same
from shards import members, write_tar

from mgclip import MGCLIP, history

COMMAND = "import runpy, sys; sys.argv[0] = 'mgclip'; runpy.run_module('mgclip', run_name='__main__')"


@pytest.fixture
def learned(mgclip, place, icons):
    """A model of three classes; test shards of these and of others."""
    assert mgclip("learn", place / "shards", "--model", place / "model", "--base", "iconclip", "features=64", "--quiet")[0] == 0
    names = [str(name) for name in icons["class_names"]]
    for file, classes in (("old", [0, 1]), ("both", [0, 3]), ("unknown", [7, 8])):
        rows = [4 * c + i for c in classes for i in range(4)]
        write_tar(place / f"{file}.tar", members(icons["x_test"][rows], [names[row // 4] for row in rows]))
    return place


def test_test_images_of_earlier_classes_are_reported_as_such(mgclip, learned):
    words = ("learn", learned / "more.parquet", "--model", learned / "model", "--json", "--test")
    report = json.loads(mgclip(*words, learned / "old.tar")[1].splitlines()[-1])
    assert report["test_images"] == {"new": 0, "old": 8, "gone": 0}
    assert report["accuracy"]["new"] is None
    assert report["accuracy"]["old"] == report["accuracy"]["all"] == report["branches"]["model"] > 0.5


def test_test_images_of_new_and_earlier_classes_are_measured_apart(mgclip, learned):
    code, out, _ = mgclip("learn", learned / "more.parquet", "--model", learned / "model", "--test", learned / "both.tar")
    assert code == 0
    note = history(learned / "model")[-1].note
    assert note["test_images"] == {"new": 4, "old": 4, "gone": 0}
    assert note["accuracy"]["all"] == (note["accuracy"]["new"] + note["accuracy"]["old"]) / 2
    assert "of 4 test images" in out and "before" not in out


def test_a_model_of_one_class_has_no_accuracy(mgclip, place, icons):
    """A single class is always right, and the next version is not compared with that."""
    names = [str(name) for name in icons["class_names"]]
    write_tar(place / "single.tar", members(icons["x_train"][:4], names[:1] * 4))
    write_tar(place / "test.tar", members(icons["x_test"][:4], names[:1] * 4))
    words = ("--model", place / "one", "--base", "iconclip", "features=64", "--quiet")
    assert mgclip("learn", place / "single.tar", *words, "--test", place / "test.tar")[0] == 0
    note = history(place / "one")[-1].note
    assert note["test_images"]["new"] == 4
    assert set(note["accuracy"].values()) == {None}


def test_test_images_of_unknown_classes_are_counted(mgclip, place, learned, icons):
    names = [str(name) for name in icons["class_names"]]
    write_tar(place / "single.tar", members(icons["x_train"][[36, 48]], names[3:5]))
    words = ("learn", place / "single.tar", "--model", place / "new", "--base", "iconclip", "features=64", "gamma=2.0")
    code, out, _ = mgclip(*words, "--test", learned / "unknown.tar")
    assert code == 0
    unknown = ", ".join(sorted(names[7:9]))
    text = " ".join(out.split())
    assert f"not measured, because the model does not know their classes ({unknown}): 8 test images" in text
    assert "no readable test image belongs to a class that the model knows" in text
    assert "--test" not in text


def test_one_process_and_two_encode_in_the_same_precision(place, monkeypatch):
    monkeypatch.setenv("MGCLIP_CACHE", str(place / "cache"))
    words = ("--base", "iconclip", "features=64", "gamma=2.0", "--quiet")
    assert forked_mgclip("learn", place / "shards", "--model", place / "one", *words).returncode == 0
    done = programs(2, COMMAND, "learn", place / "shards", "--model", place / "two", *words)
    assert [each.returncode for each in done] == [0, 0], done[0].stderr
    notes = [history(place / name)[-1].note["precision"] for name in ("one", "two")]
    assert notes[0] == notes[1]
    same(MGCLIP.from_pretrained(place / "one"), MGCLIP.from_pretrained(place / "two"))


APART = """
import os, sys
from mgclip.workflows import taught_model
real, asked = taught_model.is_saved, []
def is_saved(folder):
    asked.append(folder)
    return os.environ["RANK"] == "1" and len(asked) == 1 or real(folder)
taught_model.is_saved = is_saved
from mgclip.app.main import main
sys.argv[0] = "mgclip"
main()
"""


def test_processes_that_see_a_first_save_at_different_times_do_not_wait_for_each_other(place):
    words = ("learn", place / "shards", "--model", place / "model", "--base", "iconclip", "features=64", "gamma=2.0", "--quiet")
    done = programs(2, APART, *words)
    assert [each.returncode for each in done] == [0, 0], done[0].stderr[-3000:]
    assert len(history(place / "model")) == 1
