"""The interface of a baseline that learns from features of a frozen CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from mgclip.method.training import OnStep


@dataclass(frozen=True)
class FeatureTask:
    """One task as features.

    Attributes:
        index: The index of the task.
        first: The label of its first class.
        features: Image features ``(n, d)``, not normalised.
        labels: Positions among all classes so far ``(n,)``.
        texts: Normalised text features of all classes so far ``(c, d)``.
    """

    index: int
    first: int
    features: Tensor
    labels: Tensor
    texts: Tensor


class FeatureClassifier(Protocol):
    """A baseline on features of a CLIP that it does not change. The features it gets are not normalised."""

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of the attributes, all of them tensors, that hold what it has learned."""

    def learn(self, task: FeatureTask, on_step: OnStep) -> None:
        """Learn one task. If this is interrupted or fails, the classifier is unchanged."""

    def scores(self, features: Tensor, texts: Tensor) -> Tensor:
        """Scores ``(b, c)`` of features ``(b, d)`` over all classes so far, whose text features are ``texts`` ``(c, d)``."""

    def adapt(self, features: Tensor) -> Tensor:
        """The features ``(b, d)`` that its text branch compares with texts; unchanged if it has none."""
