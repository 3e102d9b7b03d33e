"""Every data set by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mgclip.errors import InputError
from mgclip.stream.data import Dataset, Split

NAMES = ("icons100", "cifar100", "folder")


def load_dataset(name: str, *, path: str | None, train_per_class: int, test_per_class: int) -> Dataset:
    """Load a data set. ``path`` says where it lies; the counts per class are for icons100, which is drawn to order.

    Raises ``InputError`` where it cannot be had, saying what is missing.
    """
    if name == "icons100":
        return _icons100(train_per_class, test_per_class)
    if name == "cifar100":
        from mgclip.stream.cifar import load_cifar100

        return load_cifar100(path)
    if name == "folder":
        from mgclip.stream.folder import load_folder

        if path is None:
            raise InputError("The data set folder needs data_path: a folder with train/ and test/ (or val/).")
        return load_folder(Path(path).expanduser())
    raise InputError(f"There is no data set {name}: there are {', '.join(NAMES)}.")


def _icons100(train_per_class: int, test_per_class: int) -> Dataset:
    from mgclip.stream import icons

    train, test = icons.load(train_per_class, test_per_class)
    names = icons.class_names()
    classes = np.arange(len(names))
    return Dataset(
        "icons100",
        names,
        Split(train, classes.repeat(train_per_class)),
        Split(test, classes.repeat(test_per_class)),
    )
