"""Folders as people have them: split into parts of any name, with hidden folders, links, and classes that lack images."""

import json
import os

import pytest
from PIL import Image

from mgclip.errors import InputError
from mgclip.stream import walk
from mgclip.stream.datasets import load_dataset
from mgclip.stream.files import folders_in, images_in
from mgclip.stream.folder import image_files, load_folder
from mgclip.stream.twins import about_twins, twins
from mgclip.workflows.source import read_images, read_source


def write(root, *names):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8 + number), (number, len(name), 9)).save(root / name)


def split(root, *parts):
    write(root, *(f"{part}/{name}/{part}.png" for part in parts for name in ("cat", "dog")))
    return root


# Parts


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
        (("train", "valid", "test"), "test", "test/ is measured on; not used: valid/"),
        (("train", "dev", "val"), "val", "val/ is measured on; not used: dev/"),
        (("train", "test", "unlabeled"), "test", "test/ is measured on; not used: unlabeled/"),
        (("train", "test", "val", "holdout"), "test", "test/ is measured on; not used: holdout/, val/"),
        (("train", "test", "__MACOSX", ".cache"), "test", None),
        (("train", "test", "labels"), "test", "test/ is measured on; not used: labels/"),
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
    assert source.note == note
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
        (["train/cat/a.png", "bus/a.png"], r"holds train/ with class folders in it \(cat\) and bus"),
        (["test/cat/a.png", "val/cat/a.png"], "has no part to train on"),
        (["one/train/cat/a.png", "two/train/cat/a.png"], r"folders of folders \(one, two; one/ holds train\)"),
        (["fold1/cat/a.png", "fold2/cat/a.png"], r"folders of folders \(fold1, fold2; fold1/ holds cat\)"),
        (["data/cat/a.png"], r"folders of folders \(data; data/ holds cat\)"),
        (["train/deep/cat/a.png", "test/deep/cat/a.png"], r"train holds folders of folders \(deep"),
        (["train/cat/a.png", "train/stray.png", "test/cat/a.png"], "train holds class folders .cat. and images next to them"),
        (["train/cat/a.png", "test/a.png"], "test has no class folder"),
        (["train/a.png", "test/a.png"], "holds test, train without class folders in them"),
        (["Train/a.png", "valid/a.png", "unlabeled/a.png"], "holds Train, unlabeled, valid without class folders in them"),
    ],
)  # fmt: skip
def test_what_is_not_a_folder_of_class_folders_is_refused(tmp_path, names, sentence):
    write(tmp_path, *names)
    with pytest.raises(InputError, match=sentence):
        read_source(tmp_path)


def test_a_class_may_be_called_train_and_images_may_lie_deeper(tmp_path):
    write(tmp_path, "train/a.png", "bus/a.png", "bus/red/b.png", "test/c.png")
    assert {n: len(f) for n, f in read_source(tmp_path).train.items()} == {"bus": 2, "test": 1, "train": 1}


# Hidden folders and links

LITTER = (
    ".ipynb_checkpoints", ".thumbnails", ".Trash-1000/files", ".picasaoriginals", ".dtrash/files", ".git/annex/objects", "@eaDir",
    "__MACOSX", "lost+found", "$RECYCLE.BIN", "#recycle", "@Recycle", "System Volume Information", "deep/.hidden", "deep/@EADIR",
    "@tmp", "Network Trash Folder", "Temporary Items",
)  # fmt: skip


@pytest.mark.parametrize("name", LITTER)
def test_hidden_folders_and_litter_are_read_nowhere(tmp_path, name):
    write(tmp_path, "cat/a.png", "cat/deep/b.png", "dog/a.png", f"cat/{name}/x.png", f"{name}/cat/x.png")
    (tmp_path / "deep").is_dir() and (tmp_path / "deep").rename(tmp_path / ".deep")
    assert {n: [file.name for file in f] for n, f in read_source(tmp_path).train.items()} == {
        "cat": ["a.png", "b.png"],
        "dog": ["a.png"],
    }
    assert [file.name for file in image_files(tmp_path / "cat")] == ["a.png", "b.png"]
    assert not any(".hidden" in str(file) or "@" in file.name for file in image_files(tmp_path))
    assert [name for name in folders_in(tmp_path) if name not in ("cat", "dog")] == []


def test_links_are_followed_and_circles_end(tmp_path):
    write(tmp_path / "far", "a.png", "more/b.png")
    write(tmp_path / "d", "cat/c.png", "dog/d.png")
    (tmp_path / "d" / "cat" / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "d" / "cat")
    (tmp_path / "d" / "cat" / "up").symlink_to(tmp_path / "d")
    (tmp_path / "d" / "cat" / "again").symlink_to(tmp_path / "far" / "more")
    (tmp_path / "d" / "fox").symlink_to(tmp_path / "far")
    (tmp_path / "d" / "dog" / "e.png").symlink_to(tmp_path / "far" / "a.png")
    found = {name: sorted(file.name for file in files) for name, files in read_source(tmp_path / "d").train.items()}
    assert found["cat"] == ["a.png", "b.png", "c.png"]
    assert found["dog"] == ["d.png", "e.png"]
    assert {"a.png", "b.png"} <= set(found["fox"])


def test_broken_links_are_reported(tmp_path, mgclip, tiny_clip):
    write(tmp_path, "cat/a.png", "dog/a.png")
    (tmp_path / "cat" / "b.png").symlink_to(tmp_path / "gone.png")
    assert images_in(tmp_path / "cat") == ["a.png", "b.png"]
    assert len(read_source(tmp_path).train["cat"]) == 2
    words = (
        "--model",
        tmp_path.parent / "shop",
        "--base",
        tiny_clip,
        "epochs=0",
        "head_epochs=0",
        "--hold-out",
        "0",
        "--quiet",
    )
    code, _, err = mgclip("learn", tmp_path, *words)
    assert code == 2
    assert "b.png is not there, or a link to something that is not" in err
    assert not (tmp_path.parent / "shop").exists()
    code, out, err = mgclip("learn", tmp_path, *words, "--on-bad-image", "skip", "--json")
    assert (code, err) == (0, "")
    assert '"skipped"' in out
    (tmp_path / "fox").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match="fox links to something that is not there"):
        read_source(tmp_path)
    (tmp_path / "fox").unlink()
    (tmp_path / "cat" / "more").symlink_to("more")
    with pytest.raises(InputError, match="more links to something that is not there"):
        read_source(tmp_path)


def test_a_folder_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    write(tmp_path, "cat/a.png", "cat/deep/b.png", "dog/a.png")
    scan = os.scandir

    def refuse(folder):
        if os.fspath(folder).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(walk.os, "scandir", refuse)
    with pytest.raises(InputError, match=r"The folder .*deep cannot be read \(Permission denied\)"):
        read_source(tmp_path)


# Classes that lack images


def test_a_class_without_an_image_says_what_is_there(tmp_path):
    write(tmp_path, "cat/a.png", "dog/a.png")
    (tmp_path / "dog" / "a.png").rename(tmp_path / "dog" / "a.heic")
    for read in (read_source, read_images):
        with pytest.raises(
            InputError, match=r"'dog' has no image in .*: its folder holds 1 files \(\.heic\) that are not"
        ):
            read(tmp_path)
    (tmp_path / "dog" / "a.heic").unlink()
    with pytest.raises(InputError, match=r"'dog' has no image in .*: its folder is empty"):
        read_images(tmp_path)


@pytest.mark.parametrize(
    ("change", "refused", "note"),
    [
        ("absent", None, "new classes without test images, so not measured: star"),
        ("empty", None, "new classes without test images, so not measured: star"),
        ("extra", None, "test folders that are not classes to learn, and not used: other"),
        ("Star", "the test folder 'Star' is not a class to learn", None),
        ("stars", "the test folder 'stars' is not a class to learn", None),
        ("star ", "the test folder 'star ' is not a class to learn", None),
    ],
)
def test_a_test_part_that_lacks_a_class(tmp_path, mgclip, tiny_clip, change, refused, note):
    split(tmp_path / "d", "train", "test")
    write(tmp_path / "d", "train/star/a.png")
    if change == "empty":
        (tmp_path / "d" / "test" / "star").mkdir()
    elif change == "extra":
        write(tmp_path / "d", "test/other/a.png", "test/star/b.png")
    elif change != "absent":
        write(tmp_path / "d", f"test/{change}/a.png")
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


def test_a_measured_folder_that_lacks_a_class(tmp_path, mgclip, tiny_clip):
    write(tmp_path / "d", "cat/a.png", "dog/b.png", "star/c.png")
    words = ("--model", tmp_path / "m", "--base", tiny_clip, "--hold-out", "0", "--quiet", "epochs=0", "head_epochs=1")
    assert mgclip("learn", tmp_path / "d", *words)[0] == 0
    assert "not measured" not in mgclip("evaluate", tmp_path / "m", tmp_path / "d")[1]
    (tmp_path / "d" / "star").rename(tmp_path / "elsewhere")
    code, out, _ = mgclip("evaluate", tmp_path / "m", tmp_path / "d")
    assert code == 0
    assert "learned classes without images here, so not measured: star" in out
    assert json.loads(mgclip("evaluate", tmp_path / "m", tmp_path / "d", "--json")[1])["unmeasured"] == ["star"]


# The same images in training and test


def test_test_images_that_are_training_images_are_reported(tmp_path, mgclip, tiny_clip):
    write(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/dog/d.png")
    (tmp_path / "test" / "dog" / "d.png").write_bytes((tmp_path / "train" / "cat" / "a.png").read_bytes())
    train, test = image_files(tmp_path / "train"), image_files(tmp_path / "test")
    assert twins(train, test) == [(test[1], train[0])]
    assert about_twins(train, test[:1]) is None
    assert twins([tmp_path / "none"], [tmp_path / "none"]) == []
    code, out, _ = mgclip("learn", tmp_path, "--model", tmp_path / "m", "--base", tiny_clip, "--dry-run")
    assert code == 0
    assert "1 of 2 test images are training images too, such as" in out.replace("\n", " ")
