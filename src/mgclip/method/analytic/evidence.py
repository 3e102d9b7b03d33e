"""Whether adapters help images that they have never seen: the rule of ``adapt: auto`` (docs/method.md 12).

Before a task is learned, its images are classified among the task's own classes, each by a solved head that has learned all the
others: once with the features of the frozen CLIP, and once with those of the adapters that the earlier tasks trained. Both have
the same images, so even a small difference of their squared errors is visible.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import torch.nn.functional as F
from torch import Tensor

from mgclip.method.analytic.decision import DEVIATIONS, Decision
from mgclip.method.analytic.random_features import RandomFeatures, evenly_spread, median_gamma
from mgclip.method.analytic.ridge_regression import leave_one_out, solve
from mgclip.method.analytic.sums import Sums

WIDTH = 512
"""Random features of the heads that are compared."""

IMAGES = 5000
"""The most images of a task that are compared."""


@dataclass(frozen=True)
class Evidence:
    """Sums over all images compared so far, of all tasks together.

    Attributes:
        images: Their number.
        frozen: Their squared leave-one-out errors with the frozen CLIP.
        adapted: The same with the adapters.
        squares: The squares of the differences between both.
    """

    images: int = 0
    frozen: float = 0.0
    adapted: float = 0.0
    squares: float = 0.0

    def plus(self, frozen: Tensor, adapted: Tensor, labels: Tensor) -> Evidence:
        """The evidence with the images of one more task.

        Args:
            frozen: Their normalised features of the frozen CLIP ``(n, d)``.
            adapted: Their normalised features with the adapters of the earlier tasks ``(n, d)``.
            labels: Their classes among those of the task ``(n,)``.
        """
        if len(labels) > IMAGES:
            some = evenly_spread(labels.argsort(stable=True), IMAGES)  # an equal share of every class
            frozen, adapted, labels = frozen[some], adapted[some], labels[some]
        _, labels, counts = labels.unique(return_inverse=True, return_counts=True)
        used = counts[labels] > 1  # without its only image, a class would be unknown
        if len(counts) < 2 or not used.any():
            return self
        before, after = (squared_errors(features, labels)[used] for features in (frozen, adapted))
        return Evidence(
            self.images + len(before),
            self.frozen + before.sum().item(),
            self.adapted + after.sum().item(),
            self.squares + (before - after).square().sum().item(),
        )

    @property
    def deviations(self) -> float:
        """By how many standard errors the adapters lower the mean error; negative if they raise it."""
        if self.images < 2:
            return 0.0
        mean = (self.frozen - self.adapted) / self.images
        variance = (self.squares - self.images * mean**2) / (self.images - 1)
        return mean / math.sqrt(variance / self.images) if variance > 0 else 0.0

    @property
    def decision(self) -> Decision:
        """What follows for the adapters."""
        return Decision(self.deviations > DEVIATIONS, self.images, self.deviations)

    def joined(self, other: Evidence) -> Evidence:
        """The evidence of both."""
        return Evidence(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))


def squared_errors(features: Tensor, labels: Tensor) -> Tensor:
    """Squared leave-one-out errors ``(n,)`` of a solved head, of normalised features ``(n, d)`` with labels ``(n,)``."""
    fourier = RandomFeatures(features.shape[1], WIDTH, median_gamma(features), seed=0)
    phi = fourier(features)
    sums = Sums.empty(WIDTH + 1, features.device).plus(phi, labels)
    scores = leave_one_out(solve(sums), phi, labels).scores
    return (F.one_hot(labels, scores.shape[1]) - scores).square().sum(1)
