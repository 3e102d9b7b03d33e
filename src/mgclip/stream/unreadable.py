"""Find the unreadable images of a stream, and leave them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import ConfigDict

from mgclip.errors import InputError
from mgclip.images import find_unreadable_images
from mgclip.stream.data import PARTS, Split, Subset
from mgclip.stream.files import image_name
from mgclip.stream.tasks import Task

NO_TASK = -1
"""Index used for images of a data set that is not split into tasks."""

OnImages = Callable[[int, int], None]
"""Called while images are opened, with the number opened so far and the total."""
Part = tuple[int, str, Split]
"""Index of a task, name of one of its parts, and the part."""


@dataclass(frozen=True)
class Skipped:
    """A skipped image: its position in a part (train or test) of a task, its name, and the reason."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    task: int
    part: str
    position: int
    image: str
    reason: str


def stream_parts(stream: Sequence[Task]) -> list[Part]:
    """All parts of a stream."""
    return [(task.index, part, getattr(task, part)) for task in stream for part in PARTS]


def find_unreadable(
    parts: Sequence[Part],
    on_images: OnImages = lambda done, total: None,
    *,
    share: tuple[int, int] = (0, 1),
) -> list[Skipped]:
    """Decode every image of some parts once, and list those that cannot be read. ``share``: the index and the number of the
    shares of each part, of which only one is tried; ``(0, 1)`` is everything.
    """
    own = [np.array_split(np.arange(len(split.labels)), share[1])[share[0]] for _, _, split in parts]
    total, done, found = sum(map(len, own)), 0, []

    def count_tried(count: int) -> None:
        nonlocal done
        done += count
        on_images(done, total)

    for (task, part, split), positions in zip(parts, own, strict=True):
        for index, reason in find_unreadable_images(Subset(split.images, positions), count_tried).items():
            position = int(positions[index])
            found.append(Skipped(task, part, position, image_name(split.images, position, part), reason))
    return found


def without_skipped(stream: Sequence[Task], skipped: Iterable[Skipped]) -> list[Task]:
    """The stream without the skipped images. Raises ``InputError`` if a class would have no training image left, or a task no
    test image.
    """
    positions: dict[tuple[int, str], set[int]] = {}
    for each in skipped:
        positions.setdefault((each.task, each.part), set()).add(each.position)
    left = []
    for task in stream:
        train, test = (drop_positions(getattr(task, part), positions.get((task.index, part), set())) for part in PARTS)
        left.append(replace(task, train=train, test=test))
    for task in left:
        counts = np.bincount(task.train.labels, minlength=len(task.names))[: len(task.names)]
        if (counts == 0).any():
            name = task.names[int(np.flatnonzero(counts == 0)[0])]
            raise InputError(f"No training image of the class {name!r} can be read: replace at least one.")
        if len(task.test.labels) == 0:
            raise InputError(f"No test image of task {task.index + 1} can be read: replace at least one.")
    return left


def drop_positions(split: Split, gone: set[int]) -> Split:
    """A part without the images at these positions."""
    if not gone:
        return split
    return split.take(np.setdiff1d(np.arange(len(split.labels)), list(gone)))
