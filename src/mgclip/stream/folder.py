"""A folder of class folders: ``train/`` and ``test/`` (or ``val/``), each with one folder of images for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mgclip.errors import InputError
from mgclip.stream.data import Dataset
from mgclip.stream.files import ClassFiles, is_image_name
from mgclip.stream.found import NOTHING, Found

TEST_NAMES = ("test", "val")


def image_files(folder: Path) -> list[Path]:
    """Image files below a folder, sorted; what counts is the ending, of those Pillow opens."""
    return sorted(file for file in folder.rglob("*") if is_image_name(file.name) and file.is_file())


def read_classes(folder: Path) -> dict[str, list[Path]]:
    """Class name -> image files, of a folder of class folders; names sorted, empty classes kept.

    Raises ``InputError`` where there is no such folder or it has no class folder.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise InputError(f"{folder} has no class folder: expected one folder of images for each class.")
    return {entry.name: image_files(entry) for entry in classes}


def find_parts(folder: Path) -> tuple[Path, Path | None]:
    """Where a folder's training classes are, and its test classes: ``train/`` and ``test/`` (or ``val/``) if it holds these and
    nothing else, or the folder itself, untested. A class may well be called *train*.
    """
    inside = (
        {entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."}
        if folder.is_dir()
        else set()
    )
    train = folder / "train"
    if "train" not in inside or not inside <= {"train", *TEST_NAMES} or not any(e.is_dir() for e in train.iterdir()):
        return folder, None
    return train, next((folder / name for name in TEST_NAMES if name in inside), None)


def find_folder(path: Path) -> Found:
    """What is in ``path/train`` and ``path/test`` (or ``path/val``); classes are the folders of ``train``, and ``extra`` the
    folders of ``test`` that are no class. Raises ``InputError`` where one of the two is missing or has no class folder.
    """
    test_folder = _test_folder(path)
    if not (path / "train").is_dir() or test_folder is None:
        raise InputError(
            f"{path} must hold the folders train/ and test/ (or val/), each with one folder for each class."
        )
    train, test = read_classes(path / "train"), read_classes(test_folder)
    names = tuple(train)
    dataset = Dataset(
        path.name, names, _files(path / "train", names, train).split(), _files(test_folder, names, test).split()
    )
    extra = tuple(f"{test_folder.name}/{name}" for name in sorted(test.keys() - train.keys()))
    return Found(dataset, str(path), extra)


def load_folder(path: Path) -> Dataset:
    """Read ``path/train`` and ``path/test`` (or ``path/val``); classes are the folders of ``train``.

    Raises ``InputError`` for a missing part, an empty class, or a test class that is not trained.
    """
    found = find_folder(path)
    if found.extra:
        part, _, name = found.extra[0].partition("/")
        raise InputError(f"The class {name!r} is in {path / part} and not in {path / 'train'}.")
    labels = set(found.dataset.train.labels.tolist())
    if empty := [name for label, name in enumerate(found.dataset.class_names) if label not in labels]:
        raise InputError(f"The class {empty[0]!r} has no image in {path / 'train' / empty[0]}.")
    return found.dataset


def find_test_folder(path: Path) -> Found:
    """The test part alone, as a data set without training images: ``path/test`` (or ``path/val``), or the class folders of
    ``path`` itself where there is neither. Raises ``InputError`` where there is no class folder.
    """
    place = _test_folder(path) or path
    classes = read_classes(place)
    names = tuple(classes)
    return Found(Dataset(path.name, names, NOTHING, _files(place, names, classes).split()), str(place))


def _test_folder(path: Path) -> Path | None:
    return next((path / name for name in TEST_NAMES if (path / name).is_dir()), None)


def _files(root: Path, names: Sequence[str], found: Mapping[str, Sequence[Path]]) -> ClassFiles:
    inside = ([str(file.relative_to(root / name)) for file in found.get(name, [])] for name in names)
    return ClassFiles(root, names, inside)
