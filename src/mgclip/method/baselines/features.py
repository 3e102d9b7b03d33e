"""What a baseline on features of a frozen CLIP is given, and what it must answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from mgclip.method.training import OnStep


@dataclass(frozen=True)
class FeatureTask:
    """One task as a classifier on frozen features sees it.

    ``features`` ``(n, d)`` are not normalised; ``labels`` ``(n,)`` are positions among all classes so far, the task's own from
    ``first`` on; ``texts`` ``(c, d)`` are the normalised text features of all classes so far.
    """

    index: int
    first: int
    features: Tensor
    labels: Tensor
    texts: Tensor


class FeatureClassifier(Protocol):
    """A baseline that learns from features of a CLIP it leaves alone. All features given to it are not normalised."""

    def learn(self, task: FeatureTask, on_step: OnStep) -> None:
        """Learn one task. Interrupted or failed, it leaves the classifier as it was."""

    def scores(self, features: Tensor, texts: Tensor) -> Tensor:
        """Scores ``(b, c)`` over all classes so far, of features ``(b, d)``; ``texts`` ``(c, d)`` are those classes'."""

    def adapt(self, features: Tensor) -> Tensor:
        """The features ``(b, d)`` its text branch compares with texts; those given, where it has no such branch."""

    def state(self) -> dict[str, Tensor]:
        """All it has learned, as named tensors."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` gave."""
