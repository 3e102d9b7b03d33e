"""Copies of image files are reported or left out."""

import json

from layouts import write_pictures

from mgclip.stream.duplicates import describe_duplicates, find_duplicates, find_in_one_class
from mgclip.stream.folder import image_files
from mgclip.workflows.copies import without_copies
from mgclip.workflows.source import Source


def test_test_images_that_are_also_training_images_are_reported(tmp_path, mgclip, tiny_clip):
    write_pictures(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/dog/d.png")
    (tmp_path / "test" / "dog" / "d.png").write_bytes((tmp_path / "train" / "cat" / "a.png").read_bytes())
    train, test = image_files(tmp_path / "train"), image_files(tmp_path / "test")
    assert find_duplicates(train, test) == [(test[1], train[0])]
    assert describe_duplicates(train, test[:1]) is None
    assert find_duplicates([tmp_path / "none"], [tmp_path / "none"]) == []
    (tmp_path / "test" / "cat" / "c.png").write_bytes((tmp_path / "train" / "cat" / "a.png").read_bytes())
    code, out, _ = mgclip("learn", tmp_path, "--model", tmp_path / "m", "--base", tiny_clip, "--dry-run")
    assert code == 0
    assert "1 of 2 test images is also among the training images" in out
    assert "1 image of one class is also in another class" in out


def test_copies_in_a_class_are_learned_once(tmp_path, mgclip, tiny_clip):
    write_pictures(tmp_path, *(f"photos/{name}/{number}.png" for name in ("cat", "dog") for number in range(6)))
    cats, dogs = (image_files(tmp_path / "photos" / name) for name in ("cat", "dog"))
    copies = [cat.with_name(f"{cat.stem} (1).png") for cat in cats]
    for cat, copy in zip(cats, copies, strict=True):
        copy.write_bytes(cat.read_bytes())
    other = dogs[0].with_name("cat.png")
    other.write_bytes(cats[0].read_bytes())  # of another class, so no copy in its own
    assert sorted(find_in_one_class([*cats, *copies])) == sorted(zip(copies, cats, strict=True))
    assert find_in_one_class([*dogs, other]) == []
    words = ("--base", tiny_clip, "features=16", "--quiet", "--json")
    code, out, _ = mgclip("learn", tmp_path / "photos", "--model", tmp_path / "m", *words)
    done = json.loads(out)
    assert code == 0
    assert done["images"] + done["test_images"]["new"] == 6 + 7
    assert done["notes"][0].startswith("left out, because another file of the class has the same content: 6 images, such as ")
    assert done["notes"][0].count(" (the same as ") == 3, "which image of a pair is left out"


def test_an_image_that_is_a_copy_in_one_class_stays_in_others(tmp_path):
    """In the studio, uploads of the same content and name are one file, also in two folders."""
    write_pictures(tmp_path, "a.png", "b.png")
    a, b, copy = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "copy.png"
    copy.write_bytes(a.read_bytes())
    source, left_out = without_copies(Source(tmp_path, {"cat": [a, copy, b], "dog": [copy], "bird": [b, b]}, {}, None))
    assert source.train == {"cat": [a, b], "dog": [copy], "bird": [b]}
    assert left_out.endswith(f"1 image, such as {copy} (the same as {a})")
