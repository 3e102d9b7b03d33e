"""Folders as people have them: parts of any name, and classes that lack images."""

import shutil

import pytest
from layouts import split_folder, write_pictures
from PIL import Image

from mgclip.errors import InputError
from mgclip.stream.datasets import load_dataset
from mgclip.stream.folder import image_files, load_folder, read_classes
from mgclip.workflows.source import read_images, read_source


def split(root, *parts):
    write_pictures(root, *(f"{part}/{name}/{part}.png" for part in parts for name in ("cat", "dog")))
    return root


@pytest.mark.parametrize(
    ("parts", "test", "note"),
    [
        (("train", "test"), "test", None),
        (("train", "val"), "val", None),
        (("Train", "Test"), "Test", None),
        (("TRAIN", "VALIDATION"), "VALIDATION", None),
        (("training", "testing"), "testing", None),
        (("train_set", "test_set"), "test_set", None),
        (("train", "validation"), "validation", None),
        (("train", "valid", "test"), "test", "test/ is tested on; not used: valid/"),
        (("train", "dev", "val"), "val", "val/ is tested on; not used: dev/"),
        (("train", "test", "unlabeled"), "test", "test/ is tested on; not used: unlabeled/"),
        (("train", "test", "val", "holdout"), "test", "test/ is tested on; not used: holdout/, val/"),
        (("train", "test", "__MACOSX", ".cache"), "test", None),
        (("train", "test", "labels"), "test", "test/ is tested on; not used: labels/"),
        (("train",), None, None),
        (("train", "holdout"), None, "not used: holdout/"),
    ],
)
def test_parts_are_found_by_their_usual_names(tmp_path, parts, test, note):
    split(tmp_path, *parts)
    source = read_source(tmp_path)
    assert {name: [file.name for file in files] for name, files in source.train.items()} == {
        name: [f"{parts[0]}.png"] for name in ("cat", "dog")
    }
    assert source.notes == ((note,) if note else ())
    measured = read_images(tmp_path)
    assert [file.name for files in measured.values() for file in files] == [f"{test or parts[0]}.png"] * 2
    if test is None:
        assert source.tests is None
    else:
        assert source.tests == measured
        data = load_folder(tmp_path)
        assert data.class_names == ("cat", "dog")
        assert [path.name for path in data.test.images] == [f"{test}.png"] * 2
        alone = load_dataset("folder", path=str(tmp_path), test_only=True)
        assert list(alone.test.images) == list(data.test.images)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["train/cat/a.png", "training/cat/a.png"], "train/ and training/, both with class folders"),
        (["train/cat/a.png", "bus/a.png"], r"contains train/ with class folders in it \(cat\) and bus"),
        (["test/cat/a.png", "val/cat/a.png"], "has no part to train on"),
        (["one/train/cat/a.png", "two/train/cat/a.png"], r"folders of folders \(one, two; one/ contains train\)"),
        (["fold1/cat/a.png", "fold2/cat/a.png"], r"folders of folders \(fold1, fold2; fold1/ contains cat\)"),
        (["data/cat/a.png"], r"folders of folders \(data; data/ contains cat\)"),
        (["train/deep/cat/a.png", "test/deep/cat/a.png"], r"train contains folders of folders \(deep"),
        (["train/cat/a.png", "train/stray.png", "test/cat/a.png"], "train contains class folders .cat. and images next to them"),
        (["train/cat/a.png", "test/a.png"], "test has no class folder"),
        (["train/a.png", "test/a.png"], "contains test, train without class folders in them"),
        (["Train/a.png", "valid/a.png", "unlabeled/a.png"], "contains Train, unlabeled, valid without class folders in them"),
    ],
)  # fmt: skip
def test_what_is_not_a_folder_of_class_folders_is_refused(tmp_path, names, sentence):
    write_pictures(tmp_path, *names)
    with pytest.raises(InputError, match=sentence):
        read_source(tmp_path)


def test_a_class_may_be_called_train_and_images_may_be_in_subfolders(tmp_path):
    write_pictures(tmp_path, "train/a.png", "bus/a.png", "bus/red/b.png", "test/c.png")
    assert {n: len(f) for n, f in read_source(tmp_path).train.items()} == {"bus": 2, "test": 1, "train": 1}


def test_the_error_for_a_class_without_images_names_its_files(tmp_path):
    write_pictures(tmp_path, "cat/a.png", "dog/a.png")
    (tmp_path / "dog" / "a.png").rename(tmp_path / "dog" / "a.xcf")
    for read in (read_source, read_images):
        with pytest.raises(InputError, match=r"'dog' has no image in .*: its folder contains 1 file \(\.xcf\) and no image"):
            read(tmp_path)
    (tmp_path / "dog" / "a.xcf").unlink()
    with pytest.raises(InputError, match=r"'dog' has no image in .*: its folder is empty"):
        read_images(tmp_path)


def test_a_space_at_the_end_of_a_folder_makes_no_other_class(tmp_path, mgclip, tiny_clip):
    write_pictures(tmp_path, "train/cat/a.png", "train/star/a.png", "test/cat/b.png", "test/star /b.png")
    assert sorted(read_images(tmp_path)) == ["cat", "star"]
    code, out, _ = mgclip("learn", tmp_path, "--model", tmp_path / "m", "--base", tiny_clip, "--dry-run")
    assert code == 0
    assert "2 more to measure on" in out


@pytest.mark.parametrize(
    ("change", "refused", "note"),
    [
        ("absent", None, "new classes without test images, so not measured: star"),
        ("empty", None, "new classes without test images, so not measured: star"),
        ("extra", None, "test folders that are not classes to learn, and not used: other"),
        ("Star", "the test folder 'Star' is not a class to learn", None),
        ("stars", "the test folder 'stars' is not a class to learn", None),
    ],
)
def test_a_test_part_that_lacks_a_class(tmp_path, mgclip, tiny_clip, change, refused, note):
    split(tmp_path / "d", "train", "test")
    write_pictures(tmp_path / "d", "train/star/a.png")
    if change == "empty":
        (tmp_path / "d" / "test" / "star").mkdir()
    elif change == "extra":
        write_pictures(tmp_path / "d", "test/other/a.png", "test/star/b.png")
    elif change != "absent":
        write_pictures(tmp_path / "d", f"test/{change}/a.png")
    code, out, err = mgclip("learn", tmp_path / "d", "--model", tmp_path / "m", "--base", tiny_clip, "--dry-run")
    if refused is None:
        assert code == 0
        assert note in out
    else:
        assert code == 2
        assert refused in err
    words = (
        "run",
        "folder",
        f"data_path={tmp_path / 'd'}",
        f"clip={tiny_clip}",
        "classes_per_task=3",
        "methods=zero-shot",
    )
    code, _, err = mgclip(*words, "--out", tmp_path / "r")
    assert code == 2
    assert ("'other' is in" if change == "extra" else "The class 'star' has no image in") in err
    assert ("'star' " if change == "star " else change if change in ("Star", "stars") else "") in err


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_classes_and_labels_of_a_split_folder(tmp_path, test_name):
    split_folder(tmp_path, {"cat": 3, "a dog": 2}, {"cat": 1, "a dog": 1}, test_name)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".hidden").mkdir()
    dataset = load_folder(tmp_path)
    assert dataset.class_names == ("a dog", "cat")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert [path.parent.name for path in dataset.train.images] == ["a dog"] * 2 + ["cat"] * 3
    assert dataset.test.labels.tolist() == [0, 1]


def test_the_parts_of_a_folder_are_found(tmp_path):
    from mgclip.stream.folder import Parts, find_parts

    split_folder(tmp_path / "split", {"cat": 1}, {"cat": 1}, "val")
    assert find_parts(tmp_path / "split") == Parts(tmp_path / "split" / "train", tmp_path / "split" / "val")
    for name in ("bus", "train"):
        (tmp_path / "vehicles" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "vehicles" / name / "a.png")
    assert find_parts(tmp_path / "vehicles") == Parts(tmp_path / "vehicles", None)
    (tmp_path / "vehicles" / "bus").rename(tmp_path / "vehicles" / ".bus")
    assert find_parts(tmp_path / "vehicles") == Parts(tmp_path / "vehicles", None)
    (tmp_path / "vehicles" / "train" / "scan.pdf").write_bytes(b"%PDF")
    (tmp_path / "vehicles" / "train" / "b.JPG").write_bytes(b"")
    assert [file.name for file in image_files(tmp_path / "vehicles" / "train")] == ["a.png", "b.JPG"]


def test_folders_without_classes_or_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        read_classes(tmp_path / "none")
    with pytest.raises(InputError, match=r"There is no folder .*none\.$"):
        load_folder(tmp_path / "none")
    with pytest.raises(InputError, match="has no class folder: expected one folder of images for each class"):
        read_classes(tmp_path)
    with pytest.raises(
        InputError,
        match=r"must contain the folders train/ and test/ \(or val/, valid/, validation/ ...\).*found no folder",
    ):
        load_folder(tmp_path)
    split_folder(tmp_path, {"cat": 1}, {"cow": 1})
    with pytest.raises(InputError, match=r"The class 'cat' has no image in .*test: the folder does not exist"):
        load_folder(tmp_path)
    (tmp_path / "test" / "cat").mkdir()
    with pytest.raises(InputError, match=r"The class 'cat' has no image in .*test: its folder is empty"):
        load_folder(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "test" / "cat" / "a.png")
    with pytest.raises(InputError, match=r"The class 'cow' is in .*test and not in"):
        load_folder(tmp_path)
    shutil.rmtree(tmp_path / "test" / "cow")
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(InputError, match="The class 'empty' has no image"):
        load_folder(tmp_path)
    with pytest.raises(InputError, match="The data set folder needs data_path"):
        load_dataset("folder", path=None, train_per_class=1, test_per_class=1)


def test_a_run_and_its_check_have_class_names_without_extra_spaces(tmp_path):
    write_pictures(tmp_path, "train/t  shirt/a.png", "test/t shirt/b.png", "train/cat /a.png", "test/cat/b.png")
    data = load_dataset("folder", path=str(tmp_path))
    assert data.class_names == ("cat", "t shirt")
    assert [str(file.relative_to(tmp_path)) for file in data.train.images] == ["train/cat /a.png", "train/t  shirt/a.png"]
    (tmp_path / "train" / "cat " / "a.png").rename(tmp_path / "train" / "cat " / "a.psd")
    with pytest.raises(InputError, match=r"The class 'cat' has no image in .*train: its folder contains 1 file \(\.psd\)"):
        load_dataset("folder", path=str(tmp_path))
    retained = load_dataset("folder", path=str(tmp_path / "test"), test_only=True)
    assert retained.class_names == ("cat", "t shirt")
