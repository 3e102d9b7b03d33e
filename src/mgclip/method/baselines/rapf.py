"""RAPF: one linear adapter on frozen image features, old classes replayed as Gaussians, close texts pushed apart.

Huang et al., *Class-Incremental Learning with CLIP: Adaptive Representation Adjustment and Parameter Fusion*, ECCV 2024,
arXiv 2407.14143.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.clip.backbone import Backbone
from mgclip.method.baselines.feature_classifier import FeatureClassifier, FeatureTask
from mgclip.method.baselines.settings import RAPFSettings
from mgclip.method.settings import Settings
from mgclip.method.training import OnStep, Phase

LR, MILESTONES, DECAY, MARGIN = 1e-3, (4, 10), 0.1, 0.1


class RAPF(FeatureClassifier):
    """Logits are logit_scale <A f / |A f|, g>. ``adapter`` is A ``(d, d)``; ``means`` ``(c, d)`` and ``covariances``
    ``(c, d, d)`` are those of the un-adapted features of each class.
    """

    learned = ("adapter", "means", "covariances")

    def __init__(self, backbone: Backbone, settings: Settings, own: RAPFSettings) -> None:
        super().__init__(backbone, settings, own)
        width, device = backbone.feature_dim, backbone.device
        self.scale = backbone.logit_scale.detach()
        self.adapter = initial_adapter(width, own.init, settings.seed).to(device)
        self.means = torch.empty(0, width, device=device)
        self.covariances = torch.empty(0, width, width, device=device)

    def learn(self, task: FeatureTask, on_step: OnStep) -> None:
        """Train the adapter on the task and on samples of old classes, then fuse it with the previous adapter."""
        adapter = self._train(task, on_step)
        if task.first:
            adapter = fuse_adapters(self.adapter, adapter, bias=self.own.bias)
        own = [task.features[task.labels == label] for label in range(task.first, len(task.texts))]
        covariances = torch.stack([covariance(features) for features in own])
        self.means = torch.cat([self.means, torch.stack([features.mean(0) for features in own])])
        self.covariances = torch.cat([self.covariances, covariances])
        self.adapter = adapter

    def _train(self, task: FeatureTask, on_step: OnStep) -> Tensor:
        own, seed, first = self.own, self.settings.seed, task.first
        count, size, shuffle = len(task.labels), own.batch_size, self.settings.shuffle
        lowest = LR * DECAY ** len(MILESTONES)
        phase = Phase("rapf", task.index, own.epochs, LR, lowest, size, seed, shuffle)
        key = int(np.random.default_rng([seed, task.index]).integers(2**62))
        generator = torch.Generator().manual_seed(key)  # of the CPU, so that a GPU draws the same numbers
        factors = torch.stack([sampling_factor(c, shrink=own.shrinkage) for c in self.covariances]) if first else None
        pairs = hard_pairs(task.texts, first, own.tau)
        of_class, of_pair = int(10 * own.beta), int(20 * own.beta)

        def sample(classes: Tensor, count: int) -> Tensor:
            """``count`` samples of each class: ``(k,)`` -> ``(k * count, d)``."""
            assert factors is not None
            noise = torch.randn(len(classes), count, self.means.shape[1], generator=generator).to(self.means.device)
            drawn = torch.empty_like(noise)
            for label in classes.unique().tolist():  # one d x d factor for each class, however often it occurs
                mine = classes == label
                drawn[mine] = self.means[label] + noise[mine] @ factors[label].T
            return drawn.flatten(0, 1)

        adapter = torch.nn.Parameter(self.adapter.clone())
        optimizer = torch.optim.Adam([adapter], lr=LR)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, MILESTONES, gamma=DECAY)
        for epoch in range(1, phase.epochs + 1):
            old = torch.randperm(first, generator=generator).to(self.means.device)
            for step, picked in phase.batches(count, epoch):
                features, labels = task.features[picked], task.labels[picked]
                if first:
                    at = torch.arange((step - 1) * own.old_classes, step * own.old_classes, device=old.device)
                    walk = old[at % first].unique()
                    features = torch.cat([features, sample(walk, of_class)])
                    labels = torch.cat([labels, walk.repeat_interleave(of_class)])
                unit = F.normalize(features @ adapter.T, dim=-1)
                loss = F.cross_entropy(self.scale * unit @ task.texts.T, labels)
                if len(pairs):
                    drawn = F.normalize(sample(pairs[:, 0], of_pair) @ adapter.T, dim=-1)
                    loss = loss + hinge(drawn, task.texts[pairs].repeat_interleave(of_pair, 0))
                made = phase.step(epoch, step, count, len(picked), loss)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                on_step(made)
            schedule.step()
        return adapter.detach()

    def scores(self, features: Tensor, texts: Tensor) -> Tensor:
        """``(b, d)`` -> ``(b, c)``."""
        return self.scale * self.adapt(features) @ texts.T

    def adapt(self, features: Tensor) -> Tensor:
        """A f / |A f|: ``(b, d)`` -> ``(b, d)``."""
        return F.normalize(features @ self.adapter.T, dim=-1)


def initial_adapter(width: int, init: Literal["default", "identity"], seed: int) -> Tensor:
    """The adapter before the first task ``(d, d)``.

    ``default`` is U(-1/sqrt(d), 1/sqrt(d)), the initialisation of a linear layer in PyTorch and in the published code. With
    ``identity`` the untrained method is CLIP itself.
    """
    if init == "identity":
        return torch.eye(width)
    bound = width**-0.5
    return torch.empty(width, width).uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))


def covariance(features: Tensor) -> Tensor:
    """Covariance of features ``(n, d)`` plus 1e-4 I, ``(d, d)``; a single feature has none of its own."""
    ridge = 1e-4 * torch.eye(features.shape[1], device=features.device)
    return ridge if len(features) == 1 else torch.cov(features.T) + ridge


def sampling_factor(covariance: Tensor, *, shrink: bool) -> Tensor:
    """A factor L ``(d, d)`` with L L^T the covariance to sample from, shrunk if asked for."""
    if shrink:
        eye = torch.eye(len(covariance), device=covariance.device)
        off = covariance[(eye == 0) & (covariance != 0)]
        covariance = covariance + covariance.diagonal().mean() * eye + (off.mean() if len(off) else 0.0) * (1 - eye)
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed:  # not positive definite, by rounding or shrinkage: drop the negative directions
        values, vectors = torch.linalg.eigh(covariance)
        factor = vectors * values.clamp(min=0).sqrt()
    return factor


def hard_pairs(texts: Tensor, first: int, tau: float) -> Tensor:
    """Pairs (old class i, new class j), ``(p, 2)``, whose normalised texts are closer than ``tau``; new from ``first`` on."""
    pairs: Tensor = torch.nonzero(torch.cdist(texts[:first], texts[first:]) < tau)
    return pairs + torch.tensor([0, first], device=pairs.device)


def hinge(unit: Tensor, texts: Tensor) -> Tensor:
    """mean(relu(-<u, g_i> + <u, g_j> + 0.1)) of adapted samples ``(s, d)`` and their pair's texts ``(s, 2, d)``."""
    near, far = (unit * texts[:, 0]).sum(-1), (unit * texts[:, 1]).sum(-1)
    return (far - near + MARGIN).relu().mean()


def fuse_adapters(old: Tensor, new: Tensor, *, bias: float) -> Tensor:
    """Fuse two adapters: keep what changed most in the singular directions of the old one, ``(d, d)``.

    With old = U S V and P = U^T new: m = |P - S V|, m = min(1, m / max(m) + bias), fused = U (P m + (S V)(1 - m)).
    """
    u, s, v = torch.linalg.svd(old)
    kept, moved = s[:, None] * v, u.T @ new
    share = (moved - kept).abs()
    share = (share / share.max().clamp(min=torch.finfo(share.dtype).tiny) + bias).clamp(max=1)
    fused: Tensor = u @ (moved * share + kept * (1 - share))
    return fused
