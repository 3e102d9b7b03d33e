"""Held-out images are found again wherever the photographs are, and never confused with other images."""

import json
import shutil
from pathlib import Path

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


def test_a_list_that_the_machine_does_not_open_is_not_forgotten(mgclip, place, monkeypatch):
    before = (place / "shop" / "mgclip.json").read_bytes()
    opened = Path.open

    def refused(self, *words, **options):
        if self.name == "held-out.json":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *words, **options)

    monkeypatch.setattr(Path, "open", refused)
    code, _, message = mgclip("learn", place / "april", "--model", place / "shop", "--quiet")
    assert (code, "held-out.json'): fix the permissions" in message) == (1, True)
    assert (place / "shop" / "mgclip.json").read_bytes() == before


def with_tests(icons, place, months, count):
    """Class folders in ``train`` and ``test``, each with other drawings."""
    month_folders(icons, place, months, count)
    for folder in sorted((place / "train").glob("*")):
        moved = place / "test" / folder.name
        moved.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.glob("*"))[-2:]:
            file.rename(moved / file.name)


def test_a_test_part_that_is_given_again_is_measured_once(icons, tmp_path, tiny_clip, mgclip):
    folder, shop = tmp_path / "photos", tmp_path / "shop"
    first, second, third = (str(name) for name in icons["class_names"][:3])
    with_tests(icons, folder, {"train": (0, 1)}, 6)
    assert mgclip("learn", folder, "--model", shop, "--base", tiny_clip, *SMALL)[0] == 0
    moved, kept = sorted((folder / "test" / second).iterdir())
    moved.rename(folder / "test" / first / "corrected.png")
    with_tests(icons, tmp_path / "more", {"train": (2,)}, 6)
    shutil.copytree(tmp_path / "more", folder, dirs_exist_ok=True)
    shutil.copy(next((tmp_path / "more" / "test" / third).iterdir()), folder / "train" / first / "more.png")
    code, out, _ = mgclip("learn", folder, "--model", shop)
    assert code == 0
    assert "held out already, so measured with the images of earlier classes: 4 test images" in out
    assert f"in the class of their folder now: 1 test image ({folder / 'test' / first / 'corrected.png'} as {second})" in out
    assert "not used" not in out, "the images of the second class are measured"
    assert " % of 6 test images" in out
    assert " % of 4 test images; before: " in out
    now = paths(read_held_out(shop))
    assert {name: len(files) for name, files in now.items()} == {first: 3, second: 1, third: 2}
    assert now[second] == [kept]


def two_months(icons, place, tiny_clip, mgclip):
    """A learned folder of two classes with tests, its model, and the names of these and of a third class, in the folder more."""
    folder, shop = place / "photos", place / "shop"
    with_tests(icons, folder, {"train": (0, 1)}, 6)
    assert mgclip("learn", folder, "--model", shop, "--base", tiny_clip, *SMALL)[0] == 0
    with_tests(icons, place / "more", {"train": (2,)}, 6)
    return folder, shop, [str(name) for name in icons["class_names"][:3]]


def test_a_test_image_that_is_given_in_a_new_class_is_held_out_in_it_only(icons, tmp_path, tiny_clip, mgclip):
    folder, shop, (first, second, third) = two_months(icons, tmp_path, tiny_clip, mgclip)
    shutil.copytree(folder / "test" / second, tmp_path / "more" / "test" / third, dirs_exist_ok=True)
    given = len(list((tmp_path / "more" / "test" / third).iterdir()))
    code, out, _ = mgclip("learn", tmp_path / "more", "--model", shop, "--json", "--quiet")
    assert (code, json.loads(out)["test_images"]) == (0, {"new": given, "old": 2, "gone": 0})
    assert {name: len(files) for name, files in read_held_out(shop).items()} == {first: 2, third: given}


def test_a_file_that_took_the_place_of_a_held_out_image_is_a_new_one(icons, tmp_path, tiny_clip, mgclip):
    folder, shop = tmp_path / "photos", tmp_path / "shop"
    first, second = (str(name) for name in icons["class_names"][:2])
    with_tests(icons, folder, {"train": (0, 1)}, 8)
    other = [file.rename(tmp_path / file.name) for file in sorted((folder / "train" / first).iterdir())[:3]]
    assert mgclip("learn", folder, "--model", shop, "--base", tiny_clip, *SMALL)[0] == 0
    shutil.copy(other[0], sorted((folder / "test" / first).iterdir())[0])
    shutil.copy(other[1], folder / "train" / first / "more.png")
    code, out, err = mgclip("learn", folder, "--model", shop, "--json", "--quiet")
    assert (code, json.loads(out)["test_images"]) == (0, {"new": 1, "old": 3, "gone": 1}), err
    taken = read_held_out(shop)[second][0].path
    shutil.copy(other[2], taken)
    code, out, _ = mgclip("learn", taken.parent.parent, "--model", shop, "--json", "--quiet")
    assert (code, json.loads(out)["images"]) == (0, 1)


def test_a_held_out_image_that_is_given_in_a_test_folder_that_is_not_used_stays_held_out(icons, tmp_path, tiny_clip, mgclip):
    folder, shop, (first, second, third) = two_months(icons, tmp_path, tiny_clip, mgclip)
    shutil.copytree(folder / "test" / second, tmp_path / "more" / "test" / "unsorted")
    code, out, _ = mgclip("learn", tmp_path / "more", "--model", shop)
    assert code == 0
    assert "not used: unsorted" in out
    assert "in the class of their folder now" not in out
    assert {name: len(files) for name, files in read_held_out(shop).items()} == {first: 2, second: 2, third: 2}
