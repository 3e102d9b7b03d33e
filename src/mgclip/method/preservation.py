"""Modality gap preservation: train the adapters, and only as long as the gap stays where it was (docs/method.md 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.adapters import adapter_state, adapter_weights, set_adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder
from mgclip.clip.pixels import ahead
from mgclip.method.gap import Gap, measure_gap
from mgclip.method.objective import Objective, backward, mean_weights
from mgclip.method.settings import Settings
from mgclip.method.task import TaskData
from mgclip.method.training import OnStep, Step, batches, checked


@dataclass(frozen=True)
class Probe:
    """What the probe saw: the un-tuned gap, the gap after each epoch, and the epochs it allows. ``whole``: it never had to stop,
    and has left the adapters as the adapter phase of so many epochs would: same images in the same order at the same rates.
    """

    origin: Gap
    after_epoch: tuple[Gap, ...]
    epochs: int
    whole: bool


def task_objective(backbone: Backbone, task: TaskData, settings: Settings) -> Objective:
    """Cross-entropy of the text logits over the task's own classes, whose texts are the only ones encoded (docs/method.md 5).

    With ``adapter_loss: align`` instead 1 - <f(x), g(y)>, which pulls each image to its class's text and pushes nothing away.
    """

    def losses(images: Tensor, texts: Tensor, picked: Tensor) -> Tensor:
        labels = task.labels[picked].to(images.device)
        if settings.adapter_loss == "align":
            return 1 - (images * texts[labels]).sum(-1)
        return F.cross_entropy(backbone.logit_scale * images @ texts.T, labels, reduction="none")

    tokens = backbone.tokenize([settings.prompt.format(text) for text in task.texts])
    return Objective(len(task.labels), task.pixels.batch, tokens, mean_weights, losses)


def train_epochs(
    backbone: Backbone,
    objective: Objective,
    settings: Settings,
    *,
    epochs: int,
    task: int,
    phase: str,
    on_step: OnStep,
    lr: float,
    floor: float = 0.01,
) -> Iterator[int]:
    """Train the adapters and yield after each epoch (1, 2, ...), so that a caller may look or stop early.

    Adam; cosine annealing stepped per epoch over ``epochs`` down to ``floor`` of the rate (docs/method.md 5).
    """
    trained = [weight for _, weight in adapter_weights(backbone)]
    optimizer = torch.optim.Adam(trained, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=floor * lr)
    scaler = torch.amp.GradScaler(backbone.device.type, enabled=backbone.compute.precision == "float16")
    size, seed, shuffle = settings.adapter_batch_size, settings.seed, settings.shuffle
    steps = -(-objective.count // size)
    for epoch in range(1, epochs + 1):
        order = batches(
            objective.count, task=task, phase=phase, epoch=epoch, batch_size=size, seed=seed, shuffle=shuffle
        )
        parts = [picked for _, picked in order]
        loaded = ahead(objective.pixels, map(parallel.share, parts))
        for step, (picked, (own, pixels)) in enumerate(zip(parts, loaded, strict=True), start=1):
            loss = backward(backbone, objective, picked, own, pixels, trained, scaler)
            value = checked(loss, task=task, phase=phase, epoch=epoch, step=step)
            scaler.step(optimizer)
            scaler.update()
            on_step(Step(task, phase, epoch, epochs, step, steps, len(picked), value))
        schedule.step()
        yield epoch


def probe(backbone: Backbone, task: TaskData, settings: Settings, on_step: OnStep) -> Probe:
    """Find how many epochs keep the negative similarity within ``alpha`` of the un-tuned model's (docs/method.md 4).

    The adapters are trained for it and put back if it had to stop. The answer is at least 1 and at most ``max_epochs``; an
    ``alpha`` of None watches without ever stopping.
    """

    def gap() -> Gap:
        encoder.renew()
        return measure_gap(
            encoder.images(task.pixels), task.labels, encoder.texts(task.texts), logit_scale=backbone.logit_scale,
            batch_size=settings.adapter_batch_size, average=settings.gap_average,
        )  # fmt: skip

    encoder = Encoder(backbone, prompt=settings.prompt, batch_size=settings.encode_batch_size)
    initial, origin = adapter_state(backbone), gap()
    seen: list[Gap] = []
    allowed, whole = settings.max_epochs, True
    training = train_epochs(
        backbone, task_objective(backbone, task, settings), settings,
        epochs=settings.max_epochs, task=task.index, phase="probe", on_step=on_step, lr=settings.adapter_lr,
    )  # fmt: skip
    for epoch in training:
        seen.append(gap())
        moved = parallel.agree(abs(seen[-1].negative - origin.negative) / abs(origin.negative))
        if settings.alpha is not None and moved > settings.alpha:
            allowed, whole = max(1, epoch - 1), False
            set_adapter_state(backbone, initial)
            break
    return Probe(origin, tuple(seen), allowed, whole)
