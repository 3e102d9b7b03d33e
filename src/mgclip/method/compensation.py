"""Modality gap compensation: a cosine classifier in image space, one row per class (docs/method.md 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.method.settings import Settings
from mgclip.method.task import TaskData
from mgclip.method.training import OnStep, Phase


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean of the normalised features of each class, not normalised again: ``(n, d)``, ``(n,)`` -> ``(classes, d)``."""
    return torch.stack([features[labels == label].mean(0) for label in range(classes)])


def cosines(features: Tensor, rows: Tensor) -> Tensor:
    """Logits of the head: plain cosines, no temperature. Normalised ``(b, d)`` and ``(c, d)`` -> ``(b, c)``."""
    return features @ F.normalize(rows, dim=-1).T


def head_phase(settings: Settings, task: int) -> Phase:
    """The published schedule: from ``head_lr`` down to 1 % of it."""
    rate, size = settings.head_lr, settings.head_batch_size
    return Phase("head", task, settings.head_epochs, rate, 0.01 * rate, size, settings.seed, settings.shuffle)


def train_head(features: Tensor, task: TaskData, settings: Settings, on_step: OnStep) -> Tensor:
    """The rows of the head for one task ``(classes, d)``, from its image features ``(n, d)``.

    Rows start as class means and are trained with cross-entropy over the classes of the task. Rows of earlier classes would get
    no gradient.
    """
    labels = task.labels.to(features.device)
    rows = class_means(features, labels, len(task.names))
    if len(task.names) == 1:
        return rows
    return train_rows(rows, features, labels, head_phase(settings, task.index), on_step)


def place_rows(head: Tensor, counts: Tensor, rows: Tensor, more: Tensor, places: Tensor) -> Tensor:
    """The head with the rows of a task. New classes follow the known ones; a known class gets the mean over all its images.

    Args:
        head: The rows of the known classes ``(c, d)``.
        counts: The number of their images ``(c,)``, of which only those of known classes in the task are used.
        rows: The rows of the classes in the task ``(k, d)``.
        more: The number of their images ``(k,)``.
        places: Their positions among all classes ``(k,)``.
    """
    added = max(0, int(places.max()) + 1 - len(head))
    placed, before = F.pad(head, (0, 0, 0, added)), F.pad(counts, (0, added))[places]
    share = (more / (before + more)).to(head)[:, None]  # 1 for a new class, whose row is 0 so far
    placed[places] += share * (rows - placed[places])
    return placed


def train_rows(rows: Tensor, features: Tensor, labels: Tensor, phase: Phase, on_step: OnStep) -> Tensor:
    """Train rows ``(c, d)`` on features ``(n, d)`` with cross-entropy over all of them; the rows given are not changed.

    Adam; the rate follows a cosine stepped once per iteration.
    """
    if phase.epochs == 0:
        return rows
    rows = torch.nn.Parameter(rows.clone())
    optimizer = torch.optim.Adam([rows], lr=phase.rate)
    iterations = phase.epochs * phase.steps(len(labels))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations, eta_min=phase.lowest)
    for epoch in range(1, phase.epochs + 1):
        for step, picked in phase.batches(len(labels), epoch):
            loss = F.cross_entropy(cosines(features[picked], rows), labels[picked])
            made = phase.step(epoch, step, len(labels), len(picked), loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            on_step(made)
    return rows.detach()
