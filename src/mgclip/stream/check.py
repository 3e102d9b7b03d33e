"""Is a data set whole? Everything that is missing, too much, miscounted or unreadable, not the first of it only."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from mgclip.errors import InputError
from mgclip.stream.data import Split
from mgclip.stream.datasets import DRAWN, Entry, Published, entry, find_dataset
from mgclip.stream.found import Found, class_place, classes_without

CHUNK = 64
"""Images that a thread opens before it reports."""

OnImages = Callable[[int, int], None]
"""Told while images are opened: how many were, of how many."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. ``kind``: layout, missing class, extra folder, missing file, wrong count or unreadable."""

    kind: str
    what: str


@dataclass(frozen=True)
class Report:
    """What a check saw: ``counts`` is, by part, the images of each class; ``opened`` how many images were opened."""

    data: str
    place: str
    class_names: tuple[str, ...] = ()
    counts: dict[str, list[int]] = field(default_factory=dict)
    opened: int = 0
    findings: tuple[Finding, ...] = ()


def check_dataset(
    name: str, path: str | None, *, test_only: bool = False, quick: bool = False,
    on_images: OnImages = lambda done, total: None,
) -> Report:  # fmt: skip
    """Look through a data set; ``quick`` opens no image, ``test_only`` leaves its train part out.

    Raises ``InputError`` for a name or a place that is not there; what is wrong with the data is a finding.
    """
    which = entry(name)
    test_only = test_only or which.test_only
    if path is not None and name in DRAWN:
        raise InputError(f"{name} is drawn from fonts and lies nowhere: leave {path} out.")
    if path is not None and not Path(path).expanduser().exists():
        raise InputError(f"There is no folder {path}.")
    try:
        found = find_dataset(name, path=path, test_only=test_only)
    except InputError as error:
        if path is None:  # nothing was given that could be damaged
            raise
        return Report(name, path, findings=(Finding("layout", str(error)),))
    parts = {"test": found.dataset.test} if test_only else {"train": found.dataset.train, "test": found.dataset.test}
    findings = [*_compare(found, which, parts)]
    opened = 0
    if not quick:
        findings += _unreadable(parts, on_images)
        opened = sum(len(split.images) for split in parts.values())
    names = found.dataset.class_names
    counts = {part: np.bincount(split.labels, minlength=len(names)).tolist() for part, split in parts.items()}
    return Report(name, found.place, names, counts, opened, tuple(findings))


def _compare(found: Found, which: Entry, parts: dict[str, Split]) -> Iterator[Finding]:
    """What can be told without opening an image."""
    names = found.dataset.class_names
    if which.classes is not None and len(names) != which.classes:
        yield Finding("wrong count", f"{len(names)} classes; published are {which.classes}")
    for part, split in parts.items():
        published: Published = getattr(which, part)
        lacking = classes_without(found.dataset, split)
        if len(split.labels) == 0:
            yield Finding("missing class", f"{part}: there is no image of any class in {found.place}")
            continue
        for label in lacking:
            place = class_place(split, label, found.place)
            yield Finding("missing class", f"{part}: the class {names[label]!r} has no image in {place}")
        if published.images is not None and len(split.labels) != published.images:
            yield Finding("wrong count", f"{part}: {len(split.labels):,} images; published are {published.images:,}")
        if published.each is not None:
            low, high = published.each
            of = f"{low}" if low == high else f"{low} to {high}"
            for label, count in enumerate(np.bincount(split.labels, minlength=len(names)).tolist()):
                if count and not low <= count <= high:
                    yield Finding(
                        "wrong count", f"{part}: the class {names[label]!r} has {count} images; published are {of}"
                    )
    for folder in found.extra:
        yield Finding("extra folder", f"{folder} is no class of {found.dataset.name}")
    for file in found.absent:
        yield Finding("missing file", f"{file} is in the published list and not in {found.place}")


def _unreadable(parts: dict[str, Split], on_images: OnImages) -> list[Finding]:
    """Open every image, on all cores: Pillow decodes outside Python's lock."""
    found: list[Finding] = []
    total, done = sum(len(split.images) for split in parts.values()), 0
    pool = ThreadPoolExecutor()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata; what counts is the picture
        try:
            waiting = [
                (len(chosen), pool.submit(_open_all, part, split.images, chosen))
                for part, split in parts.items()
                for chosen in _chunks(len(split.images))
            ]
            for count, lines in waiting:
                found += [Finding("unreadable", what) for what in lines.result()]
                done += count
                on_images(done, total)
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupted check stops now, not a million images later
    return found


def _chunks(images: int) -> Iterator[range]:
    return (range(start, min(start + CHUNK, images)) for start in range(0, images, CHUNK))


def _open_all(part: str, images: Sequence[Any], chosen: range) -> list[str]:
    """Decode some images -> a line for each that cannot be."""
    bad = []
    for index in chosen:
        what = f"image {index} of {part}"
        try:
            image = images[index]
            if isinstance(image, (str, Path)):
                what = str(image)
                with Image.open(image) as opened:
                    opened.convert("RGB")
        except UnidentifiedImageError:
            bad.append(f"{what} (not an image of a kind that Pillow reads)")
        except Exception as error:  # a damaged file raises anything
            bad.append(f"{what} ({' '.join(str(error).split()) or type(error).__name__})")
    return bad
