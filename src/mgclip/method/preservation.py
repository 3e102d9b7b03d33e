"""Modality gap preservation: train the adapters, and only as long as the gap stays where it was (docs/method.md 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from mgclip.clip.adapters import adapter_state, adapter_weights, set_adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.method.gap import Gap, measure_gap
from mgclip.method.settings import Settings
from mgclip.method.task import TaskData
from mgclip.method.training import OnStep, Step, batches, checked


@dataclass(frozen=True)
class Probe:
    """What the probe saw: the un-tuned gap, the gap after each epoch, and the epochs it allows."""

    origin: Gap
    after_epoch: tuple[Gap, ...]
    epochs: int


def train_epochs(
    backbone: Backbone, task: TaskData, settings: Settings, *, epochs: int, phase: str, on_step: OnStep
) -> Iterator[int]:
    """Train the adapters on one task and yield after each epoch (1, 2, ...), so that a caller may stop early.

    Adam; cosine annealing stepped per epoch over ``epochs`` down to 1 % of the rate; cross-entropy of the text logits
    over the task's own classes, whose texts are the only ones encoded (docs/method.md 5).
    """
    optimizer = torch.optim.Adam([weight for _, weight in adapter_weights(backbone)], lr=settings.adapter_lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=0.01 * settings.adapter_lr)
    tokens = backbone.tokenize([settings.prompt.format(name) for name in task.names])
    size = settings.adapter_batch_size
    steps = -(-len(task.labels) // size)
    for epoch in range(1, epochs + 1):
        order = batches(task, phase=phase, epoch=epoch, batch_size=size, seed=settings.seed, shuffle=settings.shuffle)
        for step, picked in order:
            images = backbone.image_features(task.pixels.batch(picked))  # [b, d]
            texts = backbone.text_features(tokens)  # [c, d]
            labels = task.labels[picked].to(images.device)
            loss = F.cross_entropy(backbone.logit_scale * images @ texts.T, labels)
            value = checked(loss, task=task.index, phase=phase, epoch=epoch, step=step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            on_step(Step(task.index, phase, epoch, epochs, step, steps, len(picked), value))
        schedule.step()
        yield epoch


def probe(backbone: Backbone, task: TaskData, settings: Settings, on_step: OnStep) -> Probe:
    """Find how many epochs keep the negative similarity within ``alpha`` of the un-tuned model's (docs/method.md 4).

    The adapters are trained for it and then put back. The answer is at least 1 and at most ``max_epochs``.
    """

    def gap() -> Gap:
        with torch.no_grad():
            texts = backbone.text_features(tokens)
        return measure_gap(
            backbone, task.pixels, task.labels, texts,
            batch_size=settings.adapter_batch_size, average=settings.gap_average,
        )  # fmt: skip

    tokens = backbone.tokenize([settings.prompt.format(name) for name in task.names])
    initial, origin = adapter_state(backbone), gap()
    seen: list[Gap] = []
    allowed = settings.max_epochs
    for epoch in train_epochs(backbone, task, settings, epochs=settings.max_epochs, phase="probe", on_step=on_step):
        seen.append(gap())
        if abs(seen[-1].negative - origin.negative) / abs(origin.negative) > settings.alpha:
            allowed = max(1, epoch - 1)
            break
    set_adapter_state(backbone, initial)
    return Probe(origin, tuple(seen), allowed)


def train_adapter(backbone: Backbone, task: TaskData, settings: Settings, *, epochs: int, on_step: OnStep) -> None:
    """The adapter phase of one task, ``epochs`` long (docs/method.md 5).

    A task of one class has nothing to tell apart: its loss is zero, and no step is made.
    """
    if len(task.names) > 1:
        for _ in train_epochs(backbone, task, settings, epochs=epochs, phase="adapter", on_step=on_step):
            pass
