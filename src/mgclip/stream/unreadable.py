"""A stream without the images that cannot be read, and the list of these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from pydantic import ConfigDict

from mgclip.errors import InputError
from mgclip.images import unreadable
from mgclip.stream.data import Split, Subset
from mgclip.stream.files import image_name
from mgclip.stream.tasks import Task

PARTS = ("train", "test")
NO_TASK = -1
"""Stands for the task of an image of a data set that no task is made of."""


Part = tuple[int, str, Split]
"""A task, the name of a part of it, and its content."""


@dataclass(frozen=True)
class Skipped:
    """An image that is left out: its place in a part (train or test) of a task, what it is called, and why."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    task: int
    part: str
    position: int
    image: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """The same to be written."""
        return asdict(self)


def stream_parts(stream: Sequence[Task]) -> list[Part]:
    """Task, name and content of every part of a stream."""
    return [(task.index, part, getattr(task, part)) for task in stream for part in PARTS]


def find_unreadable(
    parts: Sequence[Part],
    on_images: Callable[[int, int], None] = lambda done, total: None,
    *,
    share: tuple[int, int] = (0, 1),
) -> list[Skipped]:
    """Decode every image of some parts once, and list those that cannot be read.

    Args:
        parts: The parts of a stream.
        on_images: Called with how many images were tried, and how many there are to try.
        share: Which share to try, of how many: ``(0, 1)`` is all of them. The shares of one part follow each other.
    """
    own = [np.array_split(np.arange(len(split.labels)), share[1])[share[0]] for _, _, split in parts]
    total, done, found = sum(map(len, own)), 0, []

    def more(count: int) -> None:
        nonlocal done
        done += count
        on_images(done, total)

    for (task, part, split), positions in zip(parts, own, strict=True):
        for place, reason in unreadable(Subset(split.images, positions), more).items():
            position = int(positions[place])
            found.append(Skipped(task, part, position, image_name(split.images, position, part), reason))
    return found


def without_skipped(stream: Sequence[Task], skipped: Iterable[Skipped]) -> list[Task]:
    """The stream without some images.

    Raises ``InputError`` where a class would be left without a training image, or a task without a test image.
    """
    places: dict[tuple[int, str], set[int]] = {}
    for each in skipped:
        places.setdefault((each.task, each.part), set()).add(each.position)
    left = []
    for task in stream:
        train, test = (drop_positions(getattr(task, part), places.get((task.index, part), set())) for part in PARTS)
        left.append(replace(task, train=train, test=test))
    for task in left:
        counts = np.bincount(task.train.labels, minlength=len(task.names))
        if (counts == 0).any():
            name = task.names[int(np.flatnonzero(counts == 0)[0])]
            raise InputError(f"No training image of the class {name!r} can be read: replace them.")
        if len(task.test.labels) == 0:
            raise InputError(f"No test image of task {task.index + 1} can be read: replace them.")
    return left


def drop_positions(split: Split, gone: set[int]) -> Split:
    """A part without the images at these places."""
    if not gone:
        return split
    keep = np.array([place for place in range(len(split.labels)) if place not in gone], dtype=np.int64)
    images = split.images
    if isinstance(images, Subset):  # positions in the data set itself, which joined tasks are sorted by
        return Split(Subset(images.items, images.positions[keep]), split.labels[keep])
    return Split(Subset(images, keep), split.labels[keep])
