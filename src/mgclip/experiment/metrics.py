"""Continual-learning metrics of an accuracy matrix (docs/method.md 9).

``A[i, j]`` is the accuracy on task j's test images after learning task i; entries with j > i are NaN, except that
``A[j-1, j]`` may hold the text branch's zero-shot accuracy on a task not yet learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class Metric(NamedTuple):
    """A metric of a method's run as every table shows it: its key in the summary, heading, unit, best value, and meaning."""

    key: str
    heading: str
    unit: str
    best: Callable[..., float] | None
    meaning: str

    def of(self, summary: Mapping[str, Any]) -> float | None:
        """The value in a summary; None if it was not measured."""
        value: float | None = summary.get(self.key)
        return value

    @property
    def column(self) -> str:
        """The heading with the unit."""
        return f"{self.heading} {self.unit}".rstrip()


METRICS = (
    Metric("average", "Avg", "%", max, "Mean over tasks of the accuracy after each."),
    Metric("last", "Last", "%", max, "Accuracy over all classes after the last task."),
    Metric(
        *("forgetting", "forgetting", "", min),
        meaning="Mean over earlier tasks of the best accuracy so far minus the last one; less is better.",
    ),
    Metric(
        *("backward_transfer", "BWT", "", max),
        meaning="Backward transfer: mean over earlier tasks of the last accuracy minus the one right after learning; "
        "below zero, later tasks did harm.",
    ),
    Metric(
        *("forward_transfer", "FWT", "", max),
        meaning="Forward transfer: mean zero-shot accuracy on each task just before it is learned, by the text branch.",
    ),
)
"""The accuracies of every table of methods, in order. All are shares of 1, shown in percent."""
EPOCHS = Metric(
    *("epochs", "E", "", None),
    "Epochs of MG-CLIP's adapter phase on each task. Methods with a classifier of their own have none, even if they train.",
)
SECONDS = Metric("seconds", "seconds", "", min, "Learning and evaluating, all tasks together.")


def accuracy_after(matrix: Matrix, sizes: Sequence[int]) -> NDArray[np.float64]:
    """Accuracy over all test images of tasks 0..i, for each i: ``(t, t)`` -> ``(t,)``. ``sizes``: test images per task."""
    weights = np.asarray(sizes, dtype=np.float64)
    return np.array([np.average(matrix[i, : i + 1], weights=weights[: i + 1]) for i in range(len(matrix))])


def accuracy_drops(matrix: Matrix) -> list[float]:
    """For each task but the last: the best accuracy so far minus the last one."""
    return [float(np.max(matrix[task:-1, task]) - matrix[-1, task]) for task in range(len(matrix) - 1)]


def forgetting(matrix: Matrix) -> float | None:
    """Mean over earlier tasks of the best accuracy so far minus the last one; None for a single task."""
    return _mean(accuracy_drops(matrix))


def backward_transfer(matrix: Matrix) -> float | None:
    """Mean over earlier tasks of the last accuracy minus the one right after learning; None for a single task."""
    return _mean(matrix[-1, :-1] - matrix.diagonal()[:-1])


def forward_transfer(matrix: Matrix) -> float | None:
    """Mean zero-shot accuracy on each task just before it is learned; None for a single task."""
    return _mean(matrix.diagonal(1))


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    return float(np.mean(values)) if len(values) else None
