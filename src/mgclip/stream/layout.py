"""A data set as it was found: seen before any of it is refused, so that a check can tell all that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mgclip.errors import InputError
from mgclip.stream.data import Dataset, Split
from mgclip.stream.files import ClassFiles

EMPTY_SPLIT = Split([], np.empty(0, dtype=np.int64))
"""The train part of a data set that is only tested on."""


@dataclass(frozen=True)
class FoundDataset:
    """A data set as it lies at ``place``; a class may have no image.

    ``extra``: folders that are not a class of it. ``absent``: files its lists name and that are not there. ``note``: what else a
    reader should know.
    """

    dataset: Dataset
    path: str
    extra: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    note: str | None = None


def find_root(path: Path, own_names: Sequence[str], holds: Callable[[Path], bool]) -> Path | None:
    """The data set's own folder: ``path``, or the folder inside it with one of the names it is known by."""
    return next((place for place in (path, *(path / name for name in own_names)) if holds(place)), None)


def empty_classes(dataset: Dataset, split: Split) -> list[int]:
    """The classes that have no image in a part."""
    counts = np.bincount(split.labels, minlength=len(dataset.class_names))
    return [int(label) for label in np.flatnonzero(counts == 0)]


def require_complete(found: FoundDataset, *, test_only: bool) -> Dataset:
    """The data set, if each class has an image in each part; ``test_only`` asks for the test part alone.

    Raises ``InputError`` naming a class that has none.
    """
    dataset = found.dataset
    parts = {"test": dataset.test} if test_only else {"training": dataset.train, "test": dataset.test}
    for part, split in parts.items():
        lacking = empty_classes(dataset, split)
        if len(split.labels) == 0:
            only = " (testing on it needs none)" if part == "training" else ""
            raise InputError(
                f"There is no {part} image of {dataset.name} in {found.path}{only}: "
                "compare it with the layout that  mgclip data list  shows."
            )
        if lacking:
            others = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
            raise InputError(
                f"The class {dataset.class_names[lacking[0]]!r}{others} of {dataset.name} has no {part} image in "
                f"{class_folder(split, lacking[0], found.path)}:  mgclip data check  lists all that is missing."
            )
    return dataset


def class_folder(split: Split, label: int, otherwise: str) -> str:
    """Where the images of a class should be."""
    files = split.images
    return str(files.root / files.folders[label]) if isinstance(files, ClassFiles) else otherwise
