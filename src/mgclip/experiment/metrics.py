"""Continual-learning metrics of an accuracy matrix (docs/method.md 9).

``A[i, j]`` is the accuracy on task j's test images after learning task i; entries with j > i are NaN, except that
``A[j-1, j]`` may hold the text branch's zero-shot accuracy on a task not yet learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
        meaning="Mean over earlier tasks of the best accuracy so far minus the last one; lower is better.",
    ),
    Metric(
        *("backward_transfer", "BWT", "", max),
        meaning="Backward transfer: mean over earlier tasks of the last accuracy minus the one right after learning; "
        "below zero, later tasks did harm.",
    ),
    Metric(
        *("forward_transfer", "FWT", "", max),
        meaning="Forward transfer: mean accuracy of the text branch on each task just before it is learned, among all "
        "classes of the run; no baseline is subtracted.",
    ),
)
"""The accuracies of every table of methods, in order. All are shares of 1, shown in percent."""
UNEVEN = (
    Metric("many", "many", "%", max, "Mean accuracy of the classes with more than 100 training images, after the last task."),
    Metric("medium", "medium", "%", max, "The same of the classes with 20 to 100 training images."),
    Metric("few", "few", "%", max, "The same of the classes with fewer than 20 training images."),
    Metric("old", "old", "%", max, "Mean over tasks of the accuracy on the classes of earlier tasks, from the second task on."),
    Metric("new", "new", "%", max, "Mean over tasks of the accuracy on the classes that are new in it, from the second task on."),
)
"""Further accuracies of long-tailed and of blurry streams."""
EPOCHS = Metric(
    *("epochs", "E", "", None),
    "Epochs of MG-CLIP's adapter phase on each task. Methods with a classifier of their own have none, even if they train.",
)
SECONDS = Metric("seconds", "seconds", "", min, "Learning and evaluating, all tasks together.")


def uneven(summaries: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """The further accuracies that any of some runs has."""
    found = list(summaries)
    return [metric for metric in UNEVEN if any(metric.of(summary) is not None for summary in found)]


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
    """Mean accuracy of the text branch on each task just before it is learned; None for a single task."""
    return _mean(matrix.diagonal(1))


def old_accuracy(matrix: Matrix, sizes: Sequence[int]) -> float | None:
    """Mean over tasks but the first of the accuracy over the test images of earlier tasks; None for a single task."""
    return _mean([float(np.average(matrix[i, :i], weights=sizes[:i])) for i in range(1, len(matrix))])


def new_accuracy(matrix: Matrix) -> float | None:
    """Mean over tasks but the first of the accuracy on the own test images of each; None for a single task."""
    return _mean(matrix.diagonal()[1:])


def by_shots(counts: NDArray[np.int64], truth: NDArray[np.int64], right: NDArray[np.bool_]) -> dict[str, float | None]:
    """Mean accuracy of the classes with more than 100, with 20 to 100 and with fewer training images; None without any.

    The limits are those of Liu et al., *Large-Scale Long-Tailed Recognition in an Open World*, CVPR 2019.

    Args:
        counts: Training images of each class ``(c,)``.
        truth: The class of each test image ``(n,)``.
        right: Whether each was recognised ``(n,)``.
    """
    tested = np.unique(truth)
    accuracy, trained = np.array([right[truth == label].mean() for label in tested]), counts[tested]
    groups = {"many": trained > 100, "medium": (trained >= 20) & (trained <= 100), "few": trained < 20}
    return {name: _mean(accuracy[inside]) for name, inside in groups.items()}


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    return float(np.mean(values)) if len(values) else None
