"""A data set as plain data: named classes, and labelled images that are opened only when used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

PARTS: tuple[Literal["train", "test"], ...] = ("train", "test")

Filter: TypeAlias = Literal["none", "edges"]
"""What every image of a generated data set passes through; ``edges`` is Pillow's FIND_EDGES."""


@dataclass(frozen=True)
class Split:
    """Labelled images: ``labels`` ``(n,)`` are positions in the data set's class names."""

    images: Sequence[Any]
    labels: NDArray[np.int64]

    def named(self, names: Sequence[str]) -> list[str]:
        """The labels as names. The name of a class may be a number, which the learner could mistake for a position."""
        return [names[label] for label in self.labels]

    def take(self, positions: NDArray[np.int64]) -> Split:
        """The images at these positions. Positions in a subset become positions in the data set it belongs to."""
        if isinstance(self.images, Subset):
            return Split(Subset(self.images.items, self.images.positions[positions]), self.labels[positions])
        return Split(Subset(self.images, positions), self.labels[positions])


def few_of_each(split: Split, number: int | Sequence[int], seed: int) -> Split:
    """At most ``number`` images of each class, or one number for each class, chosen at random by the seed, in their order in the
    split.
    """
    rng, present = np.random.default_rng(seed), np.unique(split.labels)
    numbers = np.broadcast_to(number, int(present.max(initial=-1)) + 1) if isinstance(number, int) else number
    chosen = [rng.permutation(np.flatnonzero(split.labels == label))[: numbers[label]] for label in present]
    return split.take(np.sort(np.concatenate(chosen))) if chosen else split


@dataclass(frozen=True)
class Dataset:
    """A data set. ``class_names`` are in its own order, to which class orders refer."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split


class Subset(Sequence[Any]):
    """Selected items of a sequence, looked up on access."""

    def __init__(self, items: Sequence[Any], positions: NDArray[np.int64]) -> None:
        self.items, self.positions = items, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> Any:
        return self.items[int(self.positions[index])]


class Joined(Sequence[Any]):
    """The images of several data sets, one after the other, looked up on access. ``parts``: those of each, by its name."""

    def __init__(self, parts: Mapping[str, Sequence[Any]]) -> None:
        self.names, self.parts = tuple(parts), tuple(parts.values())
        self.ends = np.cumsum([len(images) for images in self.parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: Any) -> Any:
        part, place = self.find(index)
        return self.parts[part][place]

    def find(self, index: int) -> tuple[int, int]:
        """The number of the data set that an image belongs to, and its position there."""
        position = range(len(self))[int(index)]
        part = int(np.searchsorted(self.ends, position, side="right"))
        return part, position - int(self.ends[part]) + len(self.parts[part])


def of_one_data_set(images: Sequence[Any]) -> Sequence[Any]:
    """Return images of a joined stream as images of their own data set; unchanged if they come from several, or from none."""
    if not (isinstance(images, Subset) and isinstance(images.items, Joined) and len(images)):
        return images
    joined, positions = images.items, images.positions
    part, first = joined.find(positions[0])
    start = int(positions[0]) - first
    inside = (positions >= start) & (positions < start + len(joined.parts[part]))
    return Subset(joined.parts[part], positions - start) if inside.all() else images
