"""Modality gap compensation: a cosine classifier in image space, one row per class (docs/method.md 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.method.settings import Settings
from mgclip.method.task import TaskData
from mgclip.method.training import OnStep, Step, batches, require_finite


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean of each class's normalised features, not normalised again: ``(n, d)`` and ``(n,)`` -> ``(classes, d)``."""
    return torch.stack([features[labels == label].mean(0) for label in range(classes)])


def cosines(features: Tensor, rows: Tensor) -> Tensor:
    """Logits of the head: plain cosines, no temperature. Normalised ``(b, d)`` and ``(c, d)`` -> ``(b, c)``."""
    return features @ F.normalize(rows, dim=-1).T


def train_head(features: Tensor, task: TaskData, settings: Settings, on_step: OnStep) -> Tensor:
    """The head's rows for one task ``(classes, d)``, from its image features ``(n, d)``.

    Rows start as class means; cross-entropy over the task's own classes. Rows of earlier classes would get no gradient, so they
    are not touched.
    """
    labels = task.labels.to(features.device)
    rows = class_means(features, labels, len(task.names))
    if len(task.names) == 1:
        return rows
    return train_rows(
        rows, features, labels, settings, lr=settings.head_lr, lowest=0.01 * settings.head_lr,
        epochs=settings.head_epochs, batch_size=settings.head_batch_size, task=task.index, phase="head", on_step=on_step,
    )  # fmt: skip


def train_rows(
    rows: Tensor,
    features: Tensor,
    labels: Tensor,
    settings: Settings,
    *,
    lr: float,
    lowest: float,
    epochs: int,
    batch_size: int,
    task: int,
    phase: str,
    on_step: OnStep,
) -> Tensor:
    """Train rows ``(c, d)`` on features ``(n, d)`` with cross-entropy over all of them; the rows given stay as they are.

    Adam, cosine annealing stepped per iteration from ``lr`` to ``lowest`` over all ``epochs``.
    """
    rows = torch.nn.Parameter(rows.clone())
    steps = -(-len(labels) // batch_size)
    if epochs == 0:
        return rows.detach()
    optimizer = torch.optim.Adam([rows], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps, eta_min=lowest)
    for epoch in range(1, epochs + 1):
        order = batches(
            len(labels),
            task=task,
            phase=phase,
            epoch=epoch,
            batch_size=batch_size,
            seed=settings.seed,
            shuffle=settings.shuffle,
        )
        for step, picked in order:
            loss = F.cross_entropy(cosines(features[picked], rows), labels[picked])
            value = require_finite(loss, task=task, phase=phase, epoch=epoch, step=step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            on_step(Step(task, phase, epoch, epochs, step, steps, len(picked), value))
    return rows.detach()
