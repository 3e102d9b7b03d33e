"""MG-CLIP with analytic compensation on a frozen CLIP: nothing is trained, so the gap stays exactly where it is.

docs/method.md 10 and 11.
"""

from __future__ import annotations

from dataclasses import astuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.clip.backbone import Backbone
from mgclip.method.analytic import FourierFeatures, Sums, leave_one_out, median_gamma, solve
from mgclip.method.baselines.features import FeatureTask
from mgclip.method.baselines.settings import BaselineSettings
from mgclip.method.calibration import Calibration
from mgclip.method.settings import Settings
from mgclip.method.training import OnStep


class AnalyticClassifier:
    """A solved head in image space, fused with the text branch.

    ``gram``, ``targets`` and ``counts`` are the sums over all images (``Sums``). ``weights`` ``(m, c)`` are solved from them
    after each task. ``fitted`` holds gamma and the calibration of both branches.
    """

    learned = ("gram", "targets", "counts", "weights", "fitted")  # the Fourier features come from gamma and the seed

    def __init__(self, backbone: Backbone, settings: Settings, baselines: BaselineSettings) -> None:
        self.scale = backbone.logit_scale.detach().double()
        self.settings, self.baselines, self.dim = settings, baselines, backbone.feature_dim
        empty = Sums.empty(baselines.features + 1, backbone.device)
        self.gram, self.targets, self.counts, self.weights = empty.gram, empty.targets, empty.counts, empty.targets
        self.fitted = torch.tensor([baselines.gamma or 0.0, *astuple(Calibration())], dtype=torch.float64)

    @property
    def gamma(self) -> float | None:
        """Inverse width of the kernel; None before the first task, if it is not given."""
        return float(self.fitted[0]) or None

    @property
    def calibration(self) -> Calibration:
        """The weights of both branches."""
        return Calibration(*self.fitted[1:].tolist())

    def learn(self, task: FeatureTask, on_step: OnStep) -> None:
        """Add the task's images to the sums, solve, and calibrate on leave-one-out scores."""
        features = F.normalize(task.features, dim=-1)
        gamma = self.gamma or median_gamma(features)
        phi = self._fourier(gamma)(features)
        sums = Sums(self.gram, self.targets, self.counts).plus(phi, task.labels)
        solution = solve(sums)
        scores, logits = leave_one_out(solution, phi, task.labels, sums.counts), self._text_logits(features, task.texts)
        calibration = self.calibration.updated(scores, logits, task.labels, sums.counts)
        self.gram, self.targets, self.counts, self.weights = sums.gram, sums.targets, sums.counts, solution.weights
        self.fitted = torch.tensor([gamma, *astuple(calibration)], dtype=torch.float64)

    def scores(self, features: Tensor, texts: Tensor) -> Tensor:
        """Logits ``(b, c)`` whose softmax is a calibrated probability; of the branches that the settings name."""
        features = F.normalize(features, dim=-1)
        logits = self._text_logits(features, texts)
        if self.settings.branches == "text":
            return logits
        if self.settings.branches == "image":
            logits = torch.zeros_like(logits)
        scores = self._fourier(self.gamma or 1.0)(features) @ self.weights
        return self.calibration.logits(scores, logits)

    def adapt(self, features: Tensor) -> Tensor:
        """The features ``(b, d)`` unchanged: the text branch is that of the frozen CLIP."""
        return features

    def _fourier(self, gamma: float) -> FourierFeatures:
        if self._cached is None or self._cached.gamma != gamma:
            self._cached = FourierFeatures(self.dim, self.baselines.features, gamma, self.settings.seed)
        return self._cached

    _cached: FourierFeatures | None = None

    def _text_logits(self, features: Tensor, texts: Tensor) -> Tensor:
        return self.scale * features.double() @ texts.double().T
