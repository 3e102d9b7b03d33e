"""The versions of a model folder: stored, listed, activated and pruned."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from icon_tasks import task
from learned import same

from mgclip import MGCLIP, history, undo
from mgclip.errors import InputError
from mgclip.saving.versions import describe, prune


def test_undo_goes_back_and_forward(shop, icons):
    first, second = history(shop)
    assert (first.number, first.parent, first.active, first.note) == (1, None, False, {"what": "month 1"})
    assert (second.number, second.parent, second.active) == (2, 1, True)
    newest = MGCLIP.from_pretrained(shop)
    assert undo(shop).number == 1
    older = MGCLIP.from_pretrained(shop)
    assert len(older.class_names) == 2
    assert torch.equal(older.head, newest.head[:2])
    with pytest.raises(InputError, match="is the first one"):
        undo(shop)
    older.learn(*task(icons, [4, 5]))
    older.save_pretrained(shop, note={"what": "another month"})
    assert [(v.number, v.parent, v.active) for v in history(shop)] == [(1, None, False), (2, 1, False), (3, 1, True)]
    assert undo(shop, 2).note == {"what": "month 2"}
    assert same(MGCLIP.from_pretrained(shop), newest)
    with pytest.raises(InputError, match=r"has no version 7: choose from 1, 2, 3"):
        undo(shop, 7)
    with pytest.raises(InputError, match=r"has no version '2': choose from 1, 2, 3"):
        undo(shop, "2")


def test_a_version_is_made_from_the_one_that_was_loaded_or_saved_last(shop):
    model = MGCLIP.from_pretrained(shop)
    undo(shop)
    model.save_pretrained(shop, note={"what": "after another program went back"})
    MGCLIP.from_pretrained(shop).save_pretrained(shop, note={"what": "by another program"})
    model.save_pretrained(shop, note={"what": "again"})
    assert [(v.number, v.parent) for v in history(shop)] == [(1, None), (2, 1), (3, 2), (4, 3), (5, 3)]
    prune(shop, keep=1)
    model.save_pretrained(shop, note={"what": "after an earlier version was made from"})
    assert history(shop)[-1].parent == 5


def test_a_save_without_a_note_keeps_all_versions(shop):
    MGCLIP.from_pretrained(shop).save_pretrained(shop)
    assert [v.note["what"] for v in history(shop)] == ["month 1", "month 2", "saved"]


def test_a_model_has_no_versions_until_one_is_saved_with_a_note(tiny_clip, quick, icons, tmp_path):
    model = MGCLIP.from_pretrained(tiny_clip, settings=quick)
    model.learn(*task(icons, [0, 1]))
    for _ in range(2):
        model.save_pretrained(tmp_path / "plain")
    assert history(tmp_path / "plain") == []
    assert len(list((tmp_path / "plain").glob("mgclip-state-*"))) == 1
    with pytest.raises(InputError, match="keeps no versions"):
        undo(tmp_path / "plain")
    model.learn(*task(icons, [2, 3]))
    model.save_pretrained(tmp_path / "plain", note={"what": "month"})
    assert [v.note["what"] for v in history(tmp_path / "plain")] == ["saved", "month"]
    undo(tmp_path / "plain")
    assert len(MGCLIP.from_pretrained(tmp_path / "plain").class_names) == 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"note": "learned march"},
            "note must be a mapping whose keys are texts, such as {'what': 'learned march'}; found 'learned march'",
        ),
        ({"note": {1: "march"}}, "note must be a mapping whose keys are texts, .*; found {1: 'march'}"),
        ({"note": {"images": np.int64(3)}}, r"note must hold values that JSON can store: .* \(Object of type int64 is not JSON"),
        ({"note": {"accuracy": math.nan}}, r"note must hold values that JSON can store: .* \(Out of range float values"),
        ({"files": {"a.json": {3}}}, r"files must hold values that JSON can store: .* \(Object of type set is not JSON"),
    ],
)
def test_a_note_that_cannot_be_stored_is_refused_before_anything_is_written(shop, tmp_path, given, sentence):
    model = MGCLIP.from_pretrained(shop)
    for folder in (shop, tmp_path / "new"):
        before = sorted(folder.rglob("*"))
        with pytest.raises(InputError, match=sentence):
            model.save_pretrained(folder, **given)
        assert sorted(folder.rglob("*")) == before


def test_prune_keeps_the_latest_versions_and_the_active_one(shop):
    model = MGCLIP.from_pretrained(shop)
    for number in (3, 4, 5):
        model.save_pretrained(shop, note={"what": f"version {number}"})
    undo(shop, 2)
    assert prune(shop, 2) == [1, 3]
    assert [v.number for v in history(shop)] == [2, 4, 5]
    assert len(list(shop.glob("mgclip-state-*"))) == 3
    assert same(MGCLIP.from_pretrained(shop), model)
    assert [v.number for v in history(shop) if v.active] == [2]
    assert prune(shop, 9) == []
    assert prune(shop, 0) == [4, 5]


def test_a_version_with_missing_files_is_not_activated(shop):
    state = json.loads((shop / "mgclip.json").read_text())["versions"][0]["state"]
    shutil.rmtree(shop / state)
    newest = MGCLIP.from_pretrained(shop)
    with pytest.raises(InputError, match=r"Version 1 of .* is missing or damaged"):
        undo(shop)
    assert same(MGCLIP.from_pretrained(shop), newest)


def test_undo_to_a_removed_parent_is_refused(shop):
    MGCLIP.from_pretrained(shop).save_pretrained(shop, note={"what": "third"})
    undo(shop, 1)
    MGCLIP.from_pretrained(shop).save_pretrained(shop, note={"what": "fourth"})
    undo(shop, 3)
    prune(shop, 1)
    with pytest.raises(InputError, match=r"Version 2 of .*, from which 3 was made, was removed: choose with --to"):
        undo(shop)
    undo(shop, 4)
    prune(shop, 1)
    with pytest.raises(InputError, match=r"Version 1 of .*, from which 4 was made, was removed: no other is left to go back to"):
        undo(shop)


def test_a_description_tells_new_classes_from_known_ones():
    note = {"what": "learned 1 class and added images to 1 class", "classes": ["dress", "shirt"], "grown": ["dress"]}
    assert describe(note) == "learned 1 class and added images to 1 class: shirt, dress (known)"
    assert (
        describe({"what": "added images to 1 class", "classes": ["dress"], "grown": ["dress"]})
        == "added images to 1 class: dress"
    )
    assert describe({"what": "mine", "classes": ["dress"], "grown": 3}) == "mine: dress"


@pytest.mark.parametrize("numbers", [[(1, None), (2, 2)], [(1, 2), (2, 1)], [(1, None), (1, None)], [(2, None), (1, None)]])
def test_versions_that_cannot_follow_each_other_are_damage(shop, numbers):
    """A version that is its own ancestor would have no end of ancestors."""
    manifest = json.loads((shop / "mgclip.json").read_text())
    pairs = zip(manifest["versions"], numbers, strict=True)
    versions = [{**version, "number": number, "parent": parent} for version, (number, parent) in pairs]
    (shop / "mgclip.json").write_text(json.dumps({**manifest, "versions": versions}))
    for read in (history, undo):
        with pytest.raises(InputError, match="is damaged"):
            read(shop)
