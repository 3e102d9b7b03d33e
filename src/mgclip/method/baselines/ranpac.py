"""RanPAC: ridge regression on randomly projected features, from running sums that do not depend on the order of tasks.

McDonnell et al., *RanPAC: Random Projections and Pre-trained Models for Continual Learning*, NeurIPS 2023, arXiv 2307.02251.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.clip.backbone import Backbone
from mgclip.method.baselines.feature_classifier import FeatureClassifier, FeatureTask
from mgclip.method.baselines.settings import RanPACSettings
from mgclip.method.baselines.solve_ridge import solve_ridge
from mgclip.method.settings import Settings
from mgclip.method.training import OnStep, image_order

RIDGES = tuple(10.0**power for power in range(-8, 9))
ROWS = 4096
"""Samples projected at a time."""


class RanPAC(FeatureClassifier):
    """h = relu(f R); running sums G = sum of h h^T and Q = sum of h y^T; weights = (G + lambda I)^-1 Q.

    R ``(d, M)`` is drawn from N(0, 1) by the seed; ``gram`` is G ``(M, M)``, ``targets`` Q ``(M, c)``, ``weights`` ``(M, c)``.
    Everything is in double precision, but no ridge is used that single precision could not resolve (``least_ridge``).
    """

    learned = ("gram", "targets", "weights")  # the projection comes from the seed

    def __init__(self, backbone: Backbone, settings: Settings, own: RanPACSettings) -> None:
        super().__init__(backbone, settings, own)
        width, self.adapts_first = own.width, own.first_task_adapter
        generator = torch.Generator().manual_seed(settings.seed)
        self.projection = torch.randn(backbone.feature_dim, width, generator=generator).double().to(backbone.device)
        self.gram = self.projection.new_zeros(width, width)
        self.targets = self.projection.new_zeros(width, 0)
        self.weights = self.projection.new_zeros(width, 0)

    def project(self, features: Tensor) -> Tensor:
        """``(b, d)`` -> ``(b, M)``."""
        return (features.double() @ self.projection).relu()

    def learn(self, task: FeatureTask, on_step: OnStep) -> None:
        """Add a task to the sums and solve for the weights over all classes so far."""
        # The first four fifths must contain every class, and data sets are often sorted by class.
        settings = self.settings
        count, classes, seed = len(task.labels), len(task.texts), settings.seed
        order = image_order(count, "ranpac", task=task.index, epoch=0, seed=seed, shuffle=settings.shuffle)
        features = task.features[order]
        labels = F.one_hot(task.labels[order], classes).double()  # [n, c]
        gram = self.gram.clone()
        targets = F.pad(self.targets, (0, classes - self.targets.shape[1]))
        self._add(features, labels, gram, targets)
        ridge = self.choose_ridge(features, labels[:, labels.any(0)], least=least_ridge(gram))
        self.weights = solve_ridge(gram, targets, ridge)
        self.gram, self.targets = gram, targets

    def _add(self, features: Tensor, labels: Tensor, gram: Tensor, targets: Tensor) -> None:
        """Add images with labels ``(n, c)`` to both sums in place."""
        for part, own in zip(features.split(ROWS), labels.split(ROWS), strict=True):
            projected = self.project(part)
            gram += projected.T @ projected
            targets += projected.T @ own

    def choose_ridge(self, features: Tensor, labels: Tensor, *, least: float = 0.0) -> float:
        """The ridge, not below ``least``, that fitted on the first 80 % of the samples has the least squared error on the rest.

        All ridges share one eigendecomposition, of whichever of H H^T and H^T H is smaller: (H^T H + l I)^-1 H^T equals
        H^T (H H^T + l I)^-1.
        """
        cut = int(0.8 * len(features))
        if cut == 0 or cut == len(features):
            return max(1.0, least)
        fit, rest = features[:cut], features[cut:]
        target = labels[:cut]
        few = cut <= self.gram.shape[0]
        if few:
            projected = self.project(fit)
            values, vectors = torch.linalg.eigh(projected @ projected.T)
            right = vectors.T @ target  # [k, c]
        else:
            gram, cross = torch.zeros_like(self.gram), self.gram.new_zeros(len(self.gram), labels.shape[1])
            self._add(fit, target, gram, cross)
            values, vectors = torch.linalg.eigh(gram)
            right = vectors.T @ cross
        ridges = [ridge for ridge in RIDGES if ridge >= min(least, RIDGES[-1])]
        errors = torch.zeros(len(ridges), dtype=torch.float64)
        for part, own in zip(rest.split(ROWS), labels[cut:].split(ROWS), strict=True):
            seen = self.project(part)
            left = (seen @ projected.T if few else seen) @ vectors  # [m, k]
            for place, ridge in enumerate(ridges):
                errors[place] += F.mse_loss((left / (values.clamp(min=0) + ridge)) @ right, own, reduction="sum").item()
        return ridges[int(errors.argmin())]

    def scores(self, features: Tensor, texts: Tensor) -> Tensor:
        """``(b, d)`` -> ``(b, c)``."""
        return self.project(features) @ self.weights


def least_ridge(gram: Tensor) -> float:
    """The smallest ridge that single precision can resolve next to sums ``(M, M)`` of this size.

    The published code computes in single precision, so it never picks a smaller one: its solution would be noise. In double
    precision the smallest ridges look best on the few samples of a task, and fail once there are about M samples.
    """
    return float(torch.finfo(torch.float32).eps * gram.trace())
