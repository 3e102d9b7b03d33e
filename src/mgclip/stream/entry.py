"""What is known about a data set: its source, its layout, its published counts, and how it is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mgclip.stream.data import Dataset
from mgclip.stream.hub import HubSource
from mgclip.stream.layout import FoundDataset

Finder = Callable[[Path, bool], FoundDataset | None]
"""Finds a data set at a path, only its test part if the flag is set; returns None if there is none."""


@dataclass(frozen=True)
class Published:
    """Published counts of a part: all images, and the fewest and the most of a class. None if unknown."""

    images: int | None = None
    each: tuple[int, int] | None = None


@dataclass(frozen=True)
class DatasetEntry:
    """A data set: where its images come from, and what was published about it.

    Attributes:
        about: A few words about it.
        source: Where to get it.
        layout: Its folders and files on disk, in words.
        classes: The number of its classes, if it is fixed.
        train: Published counts of its training part.
        test: Published counts of its test part.
        find: Reads the layout at a path: a function of the path and of whether only the test part is needed. It returns a
            ``FoundDataset``, or None if the layout is a different one.
        hub: Its place on the Hugging Face hub, for use without a path.
        table: The file in ``stream/metadata`` with its class names; ``FILE#DATA`` if the file has those of several data sets.
        test_only: It has no training part.
        make: Makes the data set without a path; the argument is whether only the test part is needed.

    Example:
        >>> import numpy as np
        >>> from mgclip import Dataset, DatasetEntry, Split, register_dataset
        >>> def shades(test_only):
        ...     images = [np.full((32, 32, 3), value, np.uint8) for value in (0, 10, 245, 255)]
        ...     split = Split(images, np.array([0, 0, 1, 1]))
        ...     return Dataset("shades", ("dark", "light"), split, split)
        >>> register_dataset("shades", DatasetEntry("two shades", "made here", make=shades))
    """

    about: str
    source: str
    layout: str = ""
    classes: int | None = None
    train: Published = Published()
    test: Published = Published()
    find: Finder | None = None
    hub: HubSource | None = None
    table: str | None = None
    test_only: bool = False
    make: Callable[[bool], Dataset] | None = None
