"""Test images that are also training images are reported."""

from layouts import write_pictures

from mgclip.stream.duplicates import describe_duplicates, find_duplicates
from mgclip.stream.folder import image_files


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
