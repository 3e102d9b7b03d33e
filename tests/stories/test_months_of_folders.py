"""A shop keeps its photographs in folders, a folder a month. What happens is told as the commands that a person types."""

import json

import forked
import numpy as np
import pytest
from PIL import Image

KINDS = ("dress", "hat", "T-Shirt", "shoes")
"""What the shop sells. Each kind has its own pattern here, and every photograph of it differs."""


def photograph(kind, number):
    """A picture of a kind of clothing: its outline, in some colour, somewhere, on some background. The top is up."""
    random = np.random.default_rng([kind, number])
    y, x = np.mgrid[-1:1:120j, -1:1:160j]
    x, y = x - random.uniform(-0.15, 0.15), y - random.uniform(-0.15, 0.15)
    outlines = (
        abs(x) < 0.25 + 0.3 * (y + 0.6),  # a triangle
        (abs(x) < 0.7) & (abs(y - 0.3) < 0.15) | (np.hypot(x, y) < 0.35) & (y < 0.3),  # a dome with a brim
        (abs(x) < 0.3) & (abs(y) < 0.6) | (abs(x) < 0.75) & (abs(y + 0.4) < 0.2),  # a T
        (abs(abs(x) - 0.4) < 0.2) & (abs(y - 0.3) < 0.3),  # two blocks
    )
    inside = outlines[kind] & (abs(y) < 0.7)
    colours = random.integers(0, 100, 3), random.integers(150, 256, 3)
    noise = random.integers(-20, 21, (120, 160, 3))
    return Image.fromarray((np.where(inside[..., None], *colours) + noise).clip(0, 255).astype(np.uint8))


def save(folder, kind, numbers, name=None):
    """Save photographs of a kind in the folder of its class."""
    place = folder / (name or KINDS[kind])
    place.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        photograph(kind, number).save(place / f"IMG_{number:04}.jpg", quality=90)
    return place


@pytest.fixture
def shop(tmp_path):
    """A place with the photographs of March."""
    for kind in (0, 1, 2):
        save(tmp_path / "photos" / "march", kind, range(15))
    return tmp_path


def mgclip(place, *words, fails=False):
    """Type a command. Returns what it prints, or its message if it ``fails``."""
    done = forked.mgclip(*words, cwd=place)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def answer(place, file):
    return json.loads(mgclip(place, "predict", "model", str(file), "--json"))["class"]


def test_months_of_folders(shop):
    # In March the model is new. The plan says what will happen; nothing is written yet.
    plan = mgclip(shop, "learn", "photos/march", "--model", "model", "--base", "iconclip", "--dry-run")
    assert "to learn: 3 classes, from 36 images; 9 more to measure on; about " in plan
    assert "new classes: T-Shirt (12 images), dress (12 images), hat (12 images)" in plan
    assert not (shop / "model").exists()
    learned = mgclip(shop, "learn", "photos/march", "--model", "model", "--base", "iconclip", "features=256")
    assert "learned 3 classes from 36 images, no adapters trained" in learned
    assert "of 9 test images (text branch only " in learned and "leave-one-out accuracy: " in learned

    # In April somebody writes t shirt instead of T-Shirt. The model does not get a second class for the same thing.
    save(shop / "photos" / "april", 2, range(20, 26), name="t shirt")
    save(shop / "photos" / "april", 3, range(3))
    before = (shop / "model" / "mgclip.json").read_bytes()
    message = mgclip(shop, "learn", "photos/april", "--model", "model", fails=True)
    assert "The class 't shirt' is probably the same as 'T-Shirt', which the model knows" in message
    assert "learn them as one class with --merge-names" in message
    assert (shop / "model" / "mgclip.json").read_bytes() == before
    learned = mgclip(shop, "learn", "photos/april", "--model", "model", "--merge-names")
    assert "learned as one class: t shirt (6 images in all) as T-Shirt" in learned
    assert "learned 1 class and added images to 1 class" in learned and "model knows 4 classes" in learned

    # In May the photographs move to another disk. What was held out of March is still measured, at its new place.
    (shop / "photos").rename(shop / "archive")
    save(shop / "may", 3, range(10, 22))
    learned = mgclip(shop, "learn", "may", "--model", "model", "--photos", "archive")
    assert "added images to 1 class" in learned
    assert "accuracy on earlier classes: " in learned and "cannot be found" not in learned
    note = json.loads(mgclip(shop, "history", "model", "--json"))["versions"][-1]["note"]
    assert note["test_images"] == {"new": 2, "old": 10, "gone": 0}

    # A customer sends a photograph from a phone, which stores it lying on its side and notes which way is up.
    upright, phone = shop / "upright.png", shop / "phone.jpg"
    photograph(1, 500).save(upright)
    exif = Image.Exif()
    exif[274] = 6  # turn by 90 degrees clockwise to see it upright
    photograph(1, 500).transpose(Image.Transpose.ROTATE_90).save(phone, quality=95, exif=exif)
    assert answer(shop, phone) == answer(shop, upright) == "hat"

    # Somebody looks through the answers of the web shop, and a dress was taken for something else. The correction is fed back.
    picture = save(shop / "orders", 0, [900]) / "IMG_0900.jpg"
    strange = Image.open(picture).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    strange.save(picture, quality=95)
    rows = mgclip(shop, "predict", "model", "orders", "--csv").splitlines()
    (shop / "answers.csv").write_text("\n".join([rows[0], rows[1].replace(rows[1].split(",")[2], "dress", 1)]) + "\n")
    corrected = mgclip(shop, "correct", "model", "answers.csv")
    assert corrected == "1 image added that was not learned before\n"
    assert answer(shop, picture) == "dress"

    # The head alone may be better than the mixture. That changes without training, as every step is a version to return to.
    mgclip(shop, "set", "model", "branches=image")
    versions = json.loads(mgclip(shop, "history", "model", "--json"))["versions"]
    assert [version["note"]["what"] for version in versions][-2:] == ["corrected 1 image", "set branches=image"]
    mgclip(shop, "undo", "model")
    assert answer(shop, phone) == "hat"

    # Photographs of classes that the model does not know are left out of a measurement, if that is wanted.
    save(shop / "june", 0, range(40, 44))
    save(shop / "june", 1, range(40, 44), name="belt")
    assert "--known-only" in mgclip(shop, "evaluate", "model", "june", fails=True)
    assert "because the model does not know them: belt" in mgclip(shop, "evaluate", "model", "june", "--known-only")
