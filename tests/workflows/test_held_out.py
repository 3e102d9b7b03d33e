"""Held-out images are found again wherever the photographs are, and never confused with other images."""

import json
import shutil

import pytest
from icon_tasks import month_folders

from mgclip import MGCLIP
from mgclip.workflows.held_out import is_there, paths, read_held_out

SMALL = ("features=64", "--json", "--quiet")


@pytest.fixture
def place(icons, tmp_path, tiny_clip, mgclip):
    """A model of two classes with one held-out image each, in ``archive/march``, and a folder of two more classes."""
    month_folders(icons, tmp_path / "archive", {"march": (0, 1)}, 6)
    month_folders(icons, tmp_path, {"april": (2, 3)}, 6)
    words = ("learn", tmp_path / "archive" / "march", "--model", tmp_path / "shop", "--base", tiny_clip, *SMALL)
    assert mgclip(*words)[0] == 0
    return tmp_path


def learn(mgclip, place, *words):
    code, out, err = mgclip("learn", place / "april", "--model", place / "shop", "--json", "--quiet", *words)
    assert code == 0, err
    return json.loads(out)["test_images"]


def test_images_that_moved_are_not_measured_unless_their_new_folder_is_given(mgclip, place):
    (place / "archive").rename(place / "photos")
    assert learn(mgclip, place) == {"new": 2, "old": 0, "gone": 2}


@pytest.mark.parametrize("new", ["photos", "photos/march", "."])
def test_the_new_folder_may_be_any_part_of_the_old_path(mgclip, place, new):
    (place / "archive").rename(place / "photos")
    assert learn(mgclip, place, "--photos", place / new) == {"new": 2, "old": 2, "gone": 0}
    assert all(image.path.is_file() for own in read_held_out(place / "shop").values() for image in own), "it is remembered"


def test_renamed_images_are_found_by_their_fingerprints(mgclip, place):
    (place / "flat").mkdir()
    for number, file in enumerate(sorted((place / "archive").rglob("*.png"))):
        file.rename(place / "flat" / f"IMG_{number}.png")
    before = {name: [image.fingerprint for image in own] for name, own in read_held_out(place / "shop").items()}
    assert learn(mgclip, place, "--photos", place / "flat")["old"] == 2
    after = {name: [image.fingerprint for image in own] for name, own in read_held_out(place / "shop").items()}
    assert {name: after[name] for name in before} == before


def test_another_image_in_the_place_of_a_held_out_one_is_not_measured(mgclip, place):
    (first,), (second,) = read_held_out(place / "shop").values()
    shutil.copy(second.path, first.path)
    assert not is_there(first) and is_there(second)
    assert learn(mgclip, place) == {"new": 2, "old": 1, "gone": 1}


def test_model_and_photographs_may_move_together(mgclip, place, tmp_path_factory):
    other = tmp_path_factory.mktemp("disk") / "backup"
    shutil.move(place, other)
    assert learn(mgclip, other) == {"new": 2, "old": 2, "gone": 0}


def test_a_missing_folder_for_photographs_is_refused_before_anything_is_read(mgclip, place):
    code, _, err = mgclip("learn", place / "april", "--model", place / "shop", "--photos", place / "none")
    assert code == 2 and "--photos takes the folder to which held-out images have moved" in err


def test_lists_of_earlier_versions_hold_absolute_paths_and_are_still_read(mgclip, place):
    listed = paths(read_held_out(place / "shop"))
    old = {name: [str(file) for file in files] for name, files in listed.items()}
    next((place / "shop").glob("*/held-out.json")).write_text(json.dumps(old))
    assert paths(read_held_out(place / "shop")) == listed
    (place / "archive").rename(place / "photos")
    assert learn(mgclip, place, "--photos", place / "photos") == {"new": 2, "old": 2, "gone": 0}


def test_the_photographs_of_an_old_model_that_moved_are_not_learned_when_their_folder_is_learned_again(mgclip, place, icons):
    (place / "archive").rename(place / "photos")
    month_folders(icons, place / "photos" / "march", {"": (2,)}, 3)
    code, _, err = mgclip("learn", place / "photos" / "march", "--model", place / "shop", "--quiet")
    assert code == 0, err
    model = MGCLIP.from_pretrained(place / "shop")
    assert model.solved.sums.counts.tolist() == [5, 5, 3]


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b'{"folders": [], "images": {"a": [[3, "x", ""]]}}',
        b'{"folders": 3, "images": {}}',
        b"{",
        b'{"folders": [["x", "x"]], "images": {"a": [[0, "x", "zz-1"]]}}',
    ],
)
def test_a_damaged_list_is_no_list(place, content):
    next((place / "shop").glob("*/held-out.json")).write_bytes(content)
    assert read_held_out(place / "shop") == {}
