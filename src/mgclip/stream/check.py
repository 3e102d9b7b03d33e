"""Check a data set: report everything missing, extra, miscounted or unreadable, not only the first problem."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mgclip.errors import InputError
from mgclip.home import in_home
from mgclip.missing import not_found
from mgclip.stream.data import Split
from mgclip.stream.datasets import ICON_SETS, dataset_entry, find_dataset
from mgclip.stream.duplicates import describe_duplicates
from mgclip.stream.entry import DatasetEntry, Published
from mgclip.stream.files import are_files
from mgclip.stream.layout import FoundDataset, class_folder, empty_classes
from mgclip.stream.unreadable import NO_TASK, OnImages, find_unreadable
from mgclip.words import count


@dataclass(frozen=True)
class Finding:
    """One problem. ``kind``: layout, missing class, extra folder, missing file, wrong count or unreadable."""

    kind: str
    what: str


@dataclass(frozen=True)
class DatasetReport:
    """The result of a check: the images of each class by part, the number of images opened, the problems, and remarks that
    are not problems.
    """

    data: str
    path: str
    class_names: tuple[str, ...] = ()
    counts: dict[str, list[int]] = field(default_factory=dict)
    opened: int = 0
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


def check_dataset(
    name: str,
    path: str | None,
    *,
    test_only: bool = False,
    quick: bool = False,
    on_images: OnImages = lambda done, total: None,
) -> DatasetReport:
    """Check a data set. Problems of the data are findings, not errors.

    Args:
        name: Name of the data set.
        path: Path of the data; None for the hub, or the icon fonts.
        test_only: Leave out the training part.
        quick: Open no image.
        on_images: Called while images are opened.

    Raises:
        InputError: If there is no such data set or path.

    Example:
        >>> check_dataset("folder", "march", test_only=True).counts
        {'test': [4, 4]}
    """
    entry = dataset_entry(name)
    test_only = test_only or entry.test_only
    if path is not None and name in ICON_SETS:
        raise InputError(f"{name} is generated from fonts and takes no path: leave {path} out.")
    if path is not None and not Path(in_home(path)).exists():
        raise not_found("folder", path)
    try:
        found = find_dataset(name, path=path, test_only=test_only)
    except InputError as error:
        if path is None:  # no data of the user's that could be damaged
            raise
        return DatasetReport(name, path, findings=(Finding("layout", str(error)),))
    parts = {"test": found.dataset.test} if test_only else {"train": found.dataset.train, "test": found.dataset.test}
    findings = [*_compare(found, entry, parts)]
    notes, opened = [found.note], 0
    if not quick:
        skipped = find_unreadable([(NO_TASK, part, split) for part, split in parts.items()], on_images)
        findings += [Finding("unreadable", f"{each.image} ({each.reason})") for each in skipped]
        opened = sum(len(split.images) for split in parts.values())
        if all(are_files(split.images) for split in parts.values()) and not test_only:
            notes.append(describe_duplicates(parts["train"].images, parts["test"].images))
    names = found.dataset.class_names
    counts = {part: np.bincount(split.labels, minlength=len(names)).tolist() for part, split in parts.items()}
    return DatasetReport(name, found.path, names, counts, opened, tuple(findings), tuple(filter(None, notes)))


def _compare(found: FoundDataset, entry: DatasetEntry, parts: dict[str, Split]) -> Iterator[Finding]:
    """The problems that show without opening an image."""
    names = found.dataset.class_names
    if entry.classes is not None and len(names) != entry.classes:
        yield Finding("wrong count", f"{count(len(names), 'class', 'classes')}; published are {entry.classes}")
    for part, split in parts.items():
        published: Published = getattr(entry, part)
        if len(split.labels) == 0:
            yield Finding("missing class", f"{part}: there is no image of any class from {found.path}")
            continue
        for label in empty_classes(found.dataset, split):
            folder = class_folder(split, label, found.path)
            yield Finding("missing class", f"{part}: the class {names[label]!r} has no image in {folder}")
        if published.images is not None and len(split.labels) != published.images:
            yield Finding("wrong count", f"{part}: {count(len(split.labels), 'image')}; published are {published.images:,}")
        if published.each is not None:
            low, high = published.each
            of = f"{low}" if low == high else f"{low} to {high}"
            for label, images in enumerate(np.bincount(split.labels, minlength=len(names)).tolist()):
                if images and not low <= images <= high:
                    has = f"{part}: the class {names[label]!r} has {count(images, 'image')}"
                    yield Finding("wrong count", f"{has}; published are {of}")
    for folder in found.extra:
        yield Finding("extra folder", f"{folder} is not a class of {found.dataset.name}")
    for file in found.absent:
        yield Finding("missing file", f"{file} is in the published list and not in {found.path}")
