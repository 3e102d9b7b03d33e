"""A data set as plain data: named classes, and labelled images that are opened only when used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """Labelled images: ``labels`` ``(n,)`` are positions in the data set's class names."""

    images: Sequence[Any]
    labels: NDArray[np.int64]

    def named(self, names: Sequence[str]) -> list[str]:
        """The labels as names: a class may be called by a number, which a learner could take for a position."""
        return [names[label] for label in self.labels]


@dataclass(frozen=True)
class Dataset:
    """``class_names`` in the data set's own order, the one class orders refer to."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split


class Subset(Sequence[Any]):
    """Some items of a sequence, looked up when asked for."""

    def __init__(self, items: Sequence[Any], positions: NDArray[np.int64]) -> None:
        self.items, self.positions = items, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> Any:
        return self.items[int(self.positions[index])]
