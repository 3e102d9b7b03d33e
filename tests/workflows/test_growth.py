"""Known classes grow: what is learned, left out, held out and reported, for solved and for trained heads."""

import json
import shutil

import numpy as np
import pytest
from icon_tasks import month_folders
from PIL import Image

from mgclip import MGCLIP, history
from mgclip.workflows.held_out import paths, read_held_out

SMALL = ("features=64", "--json", "--quiet")


@pytest.fixture
def months(icons, tmp_path, tiny_clip, mgclip):
    """A model of classes 0 and 1 from six drawings each; and a folder of twelve drawings of class 1, and of a new class."""
    month_folders(icons, tmp_path, {"march": (0, 1)}, 6)
    month_folders(icons, tmp_path, {"april": (1, 2)}, 12)
    code, _, err = mgclip("learn", tmp_path / "march", "--model", tmp_path / "shop", "--base", tiny_clip, *SMALL, "--hold-out", 0)
    assert (code, err) == (0, "")
    return tmp_path


def names(icons):
    return [str(name) for name in icons["class_names"]]


def test_a_folder_may_mix_new_and_known_classes(mgclip, months, icons, tiny_clip):
    _, known, new = names(icons)[:3]
    words = ("learn", months / "april", "--model", months / "shop", "--hold-out", 0)
    code, out, _ = mgclip(*words, "--dry-run")
    assert code == 0
    assert "1 new class and more images of 1 of the 2 known classes, from 18 images" in out
    assert f"new classes: {new} (12 images)" in out
    assert f"known classes: {known} (6 images)" in out
    assert "has learned the same pixels in the same class: 6 images" in out
    plan = json.loads(mgclip(*words, "--dry-run", "--json")[1])
    assert plan["classes"] == {known: 6, new: 12}
    assert plan["grown"] == [known]
    code, out, err = mgclip(*words)
    assert (code, err.strip()) == (0, ""), "the text of a known class is not a second text like it"
    assert "learned 1 class and added images to 1 class from 18 images" in out
    model = MGCLIP.from_pretrained(months / "shop")
    assert model.class_names == tuple(names(icons)[:3])
    assert model.solved.sums.counts.tolist() == [6, 12, 12]
    note = history(months / "shop")[-1].note
    assert note["grown"] == [known]
    assert note["leave_one_out"] == model.solved.calibration.accuracy
    assert f"leave-one-out accuracy: {100 * note['leave_one_out']:.2f} % of the learned images" in out
    at_once = MGCLIP.from_pretrained(tiny_clip, settings={**model.settings.model_dump(), "gamma": model.solved.fourier.gamma})
    x, y = icons["x_train"], icons["y_train"]
    rows = np.concatenate([np.flatnonzero(y == 0)[:6], np.flatnonzero(np.isin(y, [1, 2]))])
    at_once.learn(x[rows], y[rows], names(icons)[:3])
    assert model.solved.weights.numpy() == pytest.approx(at_once.solved.weights.numpy(), rel=1e-6, abs=1e-8)


def test_nothing_new_changes_nothing(mgclip, months):
    before = (months / "shop" / "mgclip.json").read_bytes()
    code, _, err = mgclip("learn", months / "march", "--model", months / "shop")
    assert code == 2
    assert "There is no new image: 12 images of known classes were learned before, or held out." in err
    assert (months / "shop" / "mgclip.json").read_bytes() == before


def test_a_single_image_is_in_the_singular(mgclip, months, tmp_path):
    picture = next((months / "march").rglob("*.png"))
    (tmp_path / "one" / picture.parent.name).mkdir(parents=True)
    shutil.copy(picture, tmp_path / "one" / picture.parent.name)
    code, _, err = mgclip("learn", tmp_path / "one", "--model", months / "shop")
    assert (code, "There is no new image: 1 image of known classes was learned before" in err) == (2, True)


def test_held_out_images_stay_held_out_wherever_they_are(mgclip, months, icons, tiny_clip):
    shop = months / "held"
    mgclip("learn", months / "march", "--model", shop, "--base", tiny_clip, *SMALL)
    listed = paths(read_held_out(shop))
    (months / "march").rename(months / "copy")  # the same images under other paths, and more of them
    for place in (months / "copy").iterdir():
        number = names(icons).index(place.name)
        for i in range(6, 12):
            Image.fromarray(icons["x_train"][12 * number + i]).save(place / f"{i}.png")
    code, out, _ = mgclip("learn", months / "copy", "--model", shop)
    assert code == 0
    assert "still held out, to measure on: 2 images" in out
    model = MGCLIP.from_pretrained(shop)
    assert model.solved.sums.counts.tolist() == [10, 10]
    now = paths(read_held_out(shop))
    assert {name: len(files) for name, files in now.items()} == dict.fromkeys(model.class_names, 2)
    held = [file for files in now.values() for file in files]
    assert {months / "copy" / file.relative_to(months / "march") for files in listed.values() for file in files} <= set(held)
    assert not any(model.learned_as(held))


def test_an_image_learned_in_another_class_is_reported(mgclip, months, icons):
    first, second = names(icons)[:2]
    (months / "mixed" / second).mkdir(parents=True)
    Image.fromarray(icons["x_train"][0]).save(months / "mixed" / second / "wrong.png")
    code, out, _ = mgclip("learn", months / "mixed", "--model", months / "shop", "--dry-run")
    assert code == 0
    assert "1 image of known classes was learned as another class before" in out
    assert f"wrong.png as {first}): `mgclip correct`, before `mgclip learn`, gives an image its right class" in out


def test_images_learned_or_held_out_are_reported_in_a_new_class_too(mgclip, months, icons, tiny_clip):
    """A copied folder with a new name is probably the old class."""
    shop, first = months / "held", names(icons)[0]
    mgclip("learn", months / "march", "--model", shop, "--base", tiny_clip, *SMALL)
    (held,) = paths(read_held_out(shop))[first]
    shutil.copytree(months / "march" / first, months / "moved" / "disc")
    for i in range(6, 12):
        Image.fromarray(icons["x_train"][i]).save(months / "moved" / "disc" / f"new{i}.png")
    code, out, _ = mgclip("learn", months / "moved", "--model", shop, "--dry-run")
    assert code == 0
    assert f"held out as another class, to measure on: 1 image ({months / 'moved' / 'disc' / held.name} as {first})" in out
    assert "5 images of new classes were learned as another class before, and would count in both" in out
    assert "`mgclip relabel` renames a class; to split one, first forget it with its images" in out
    assert mgclip("learn", months / "moved", "--model", shop, "--hold-out", 0.9, "--quiet")[0] == 0
    model, now = MGCLIP.from_pretrained(shop), paths(read_held_out(shop))
    assert now[first] == [held] and len(now["disc"]) == 5, "images that were learned are not held out"
    assert not any(model.learned_as([file for files in now.values() for file in files]))
    shutil.copytree(months / "march" / first, months / "only" / "ring", ignore=lambda _, files: {*files} - {held.name})
    code, _, err = mgclip("learn", months / "only", "--model", shop)
    assert (code, f"There is no new image: {months / 'only' / 'ring' / held.name} is held out as {first}" in err) == (2, True)


def test_a_trained_head_learns_no_held_out_image_in_a_new_class(mgclip, months, icons, tiny_clip):
    words, first = ("--base", tiny_clip, "--method", "simplecil", "--quiet"), names(icons)[0]
    assert mgclip("learn", months / "march", "--model", months / "trained", *words)[0] == 0
    shutil.copytree(months / "march" / first, months / "moved" / "disc")
    code, out, _ = mgclip("learn", months / "moved", "--model", months / "trained", "--dry-run")
    assert (code, "held out as another class, to measure on: 1 image" in out) == (0, True)


def test_a_trained_head_refuses_known_classes_and_names_the_ways_out(mgclip, months, tiny_clip):
    words = ("--base", tiny_clip, "--method", "mg-clip", "epochs=0", "head_epochs=0", "--quiet")
    assert mgclip("learn", months / "march", "--model", months / "trained", *words)[0] == 0
    before = (months / "trained" / "mgclip.json").read_bytes()
    code, _, err = mgclip("learn", months / "april", "--model", months / "trained")
    assert code == 2
    assert "was learned before, and a trained head cannot grow" in err
    for way in ("another name", "forget", "analytic compensation"):
        assert way in err
    assert (months / "trained" / "mgclip.json").read_bytes() == before
