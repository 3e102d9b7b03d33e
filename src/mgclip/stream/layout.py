"""A data set as found on disk, before it is validated, so that a check can report all its problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from mgclip.errors import InputError
from mgclip.stream.data import Dataset, Split
from mgclip.stream.files import ClassFiles
from mgclip.words import count

EMPTY_SPLIT = Split([], np.empty(0, dtype=np.int64))
"""The training part of a data set that has none."""


@dataclass(frozen=True)
class FoundDataset:
    """A data set found at ``path``, in which classes may have no image.

    ``extra``: folders that are not classes. ``absent``: listed files that do not exist. ``note``: a remark for the user.
    """

    dataset: Dataset
    path: str
    extra: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    note: str | None = None


def find_root(path: Path, own_names: Sequence[str], holds: Callable[[Path], bool]) -> Path | None:
    """The root folder of a data set: ``path``, or a folder in it with one of the usual names. None if there is none."""
    return next((root for root in (path, *(path / name for name in own_names)) if holds(root)), None)


def empty_classes(dataset: Dataset, split: Split) -> list[int]:
    """The classes that have no image in a part."""
    counts = np.bincount(split.labels, minlength=len(dataset.class_names))
    return [int(label) for label in np.flatnonzero(counts == 0)]


def require_complete(found: FoundDataset, *, test_only: bool) -> Dataset:
    """The data set, if each class has an image in each part, or in the test part if ``test_only``. Raises ``InputError`` if a
    class has none, or most folders are not classes: ImageNet-1K has all synsets of ImageNet-R, -A and TinyImageNet.
    """
    dataset = found.dataset
    extra = {PurePath(folder).name for folder in found.extra}
    if len(extra) > len(dataset.class_names):
        raise InputError(
            f"{found.path} must contain the {len(dataset.class_names)} classes of {dataset.name}; found "
            f"{count(len(extra), 'other folder')}, such as {found.extra[0]}: give the folder of {dataset.name}."
        )
    parts = {"test": dataset.test} if test_only else {"training": dataset.train, "test": dataset.test}
    for part, split in parts.items():
        lacking = empty_classes(dataset, split)
        if len(split.labels) == 0:
            only = " (testing on it needs none)" if part == "training" else ""
            raise InputError(
                f"There is no {part} image of {dataset.name} in {found.path}{only}: "
                "compare it with the layout that `mgclip data list` shows."
            )
        if lacking:
            others = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
            raise InputError(
                f"The class {dataset.class_names[lacking[0]]!r}{others} of {dataset.name} has no {part} image in "
                f"{class_folder(split, lacking[0], found.path)}: `mgclip data check` lists everything that is missing."
            )
    return dataset


def class_folder(split: Split, label: int, otherwise: str) -> str:
    """The folder that should contain the images of a class."""
    files = split.images
    return str(files.root / files.folders[label]) if isinstance(files, ClassFiles) else otherwise
