"""A folder of class folders: ``train/`` and ``test/`` (or ``val/``), each with one folder of images for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mgclip.errors import InputError
from mgclip.stream.data import Dataset, Split

TEST_NAMES = ("test", "val")


def image_files(folder: Path) -> list[Path]:
    """Image files below a folder, sorted; what counts is the ending, of those Pillow opens."""
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in endings and not file.name.startswith(".") and file.is_file()
    )


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


def load_folder(path: Path) -> Dataset:
    """Read ``path/train`` and ``path/test`` (or ``path/val``); classes are the folders of ``train``.

    Raises ``InputError`` for a missing part, an empty class, or a test class that is not trained.
    """
    test_folder = next((path / name for name in TEST_NAMES if (path / name).is_dir()), None)
    if not (path / "train").is_dir() or test_folder is None:
        raise InputError(
            f"{path} must hold the folders train/ and test/ (or val/), each with one folder for each class."
        )
    train, test = read_classes(path / "train"), read_classes(test_folder)
    if unknown := sorted(test.keys() - train.keys()):
        raise InputError(f"The class {unknown[0]!r} is in {test_folder} and not in {path / 'train'}.")
    if empty := [name for name, found in train.items() if not found]:
        raise InputError(f"The class {empty[0]!r} has no image in {path / 'train' / empty[0]}.")
    names = tuple(train)
    return Dataset(path.name, names, _split(names, train), _split(names, test))


def _split(names: tuple[str, ...], found: dict[str, list[Path]]) -> Split:
    paths = [(path, label) for label, name in enumerate(names) for path in found.get(name, [])]
    return Split([path for path, _ in paths], np.array([label for _, label in paths], dtype=np.int64))
