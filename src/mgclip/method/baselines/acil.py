"""ACIL: ridge regression on random ReLU features, with one ridge for all tasks.

Zhuang et al., *ACIL: Analytic Class-Incremental Learning with Absolute Memorization and Privacy Protection*, NeurIPS 2022, arXiv
2205.14922.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mgclip.clip.backbone import Backbone
from mgclip.method.analytic.sums import Sums, accumulate
from mgclip.method.baselines.feature_classifier import FeatureClassifier, FeatureTask
from mgclip.method.baselines.settings import ACILSettings
from mgclip.method.baselines.solve_ridge import solve_ridge
from mgclip.method.settings import Settings
from mgclip.method.training import OnStep


class ACIL(FeatureClassifier):
    """h = relu(f R); weights (G + ridge I)^-1 Q with the sums of the solved head (docs/method.md 10), without class balance.

    The authors update the inverse of G + ridge I batch after batch. The sums give the same weights, and rounding does not
    accumulate. R ``(d, M)`` is drawn as in their code, uniformly between ±1 / sqrt(d).
    """

    learned = ("gram", "targets", "counts", "weights")  # the projection comes from the seed

    def __init__(self, backbone: Backbone, settings: Settings, own: ACILSettings) -> None:
        super().__init__(backbone, settings, own)
        drawn = torch.rand(backbone.feature_dim, own.width, generator=torch.Generator().manual_seed(settings.seed))
        self.projection: Tensor = (backbone.feature_dim**-0.5 * (2 * drawn.double() - 1)).to(backbone.device)
        none = Sums.empty(own.width, backbone.device)
        self.gram, self.targets, self.counts, self.weights = none.gram, none.targets, none.counts, none.targets

    def expand(self, features: Tensor) -> Tensor:
        """``(b, d)`` -> ``(b, M)``."""
        return (features.double() @ self.projection).relu()

    def learn(self, task: FeatureTask, on_step: OnStep) -> None:
        """Add a task to the sums and solve for the weights over all classes so far."""
        before = Sums(self.gram, self.targets, self.counts, class_balance=False)
        sums = accumulate(before, self.expand, task.features, task.labels)
        self.weights = solve_ridge(sums.gram, sums.targets, self.own.ridge)
        self.gram, self.targets, self.counts = sums.gram, sums.targets, sums.counts

    def scores(self, features: Tensor, texts: Tensor) -> Tensor:
        """``(b, d)`` -> ``(b, c)``."""
        return self.expand(features) @ self.weights
