"""Modality gap preservation: train the adapters, and only as long as the gap stays where it was (docs/method.md 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.adapters import adapter_state, adapter_weights, set_adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder
from mgclip.clip.pixels import prefetch
from mgclip.method.gap import Gap, measure_gap
from mgclip.method.objective import Objective, backward, mean_weights
from mgclip.method.settings import Settings
from mgclip.method.task import TaskData
from mgclip.method.training import OnStep, Step, batches, require_finite
from mgclip.saving.checkpoints import TaskCheckpoints, restore, training_state


@dataclass(frozen=True)
class Probe:
    """What the probe saw: the un-tuned gap, the gap after each epoch, and the epochs it allows. ``whole``: it never had to stop,
    and has left the adapters as the adapter phase of so many epochs would: same images in the same order at the same rates.
    """

    initial: Gap
    after_epoch: tuple[Gap, ...]
    epochs: int
    completed: bool

    def numbers(self) -> dict[str, Any]:
        """As plain numbers, to be kept."""
        gaps = [[gap.positive, gap.negative] for gap in (self.initial, *self.after_epoch)]
        return {"gaps": gaps, "epochs": self.epochs, "whole": self.completed}

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> Probe:
        """From plain numbers."""
        origin, *after = (Gap(*pair) for pair in numbers["gaps"])
        return cls(origin, tuple(after), numbers["epochs"], numbers["whole"])


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
    progress: TaskCheckpoints | None = None,
) -> Iterator[int]:
    """Train the adapters and yield after each epoch (1, 2, ...), so that a caller may look or stop early.

    Adam; cosine annealing stepped per epoch over ``epochs`` down to ``floor`` of the rate (docs/method.md 5). With ``progress``
    steps are kept, and training goes on from the one kept last: at the epoch it lies in, even if that is whole.
    """
    progress = progress or TaskCheckpoints()
    names, trained = zip(*adapter_weights(backbone), strict=True)
    optimizer = torch.optim.Adam(trained, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=floor * lr)
    scaler = torch.amp.GradScaler(backbone.device.type, enabled=backbone.compute.precision == "float16")
    size, seed, shuffle = settings.adapter_batch_size, settings.seed, settings.shuffle
    steps = -(-objective.count // size)
    begun = progress.checkpoint_in(phase)
    first, done = (begun.epoch, begun.step) if begun is not None else (1, 0)
    if begun is not None:
        restore(begun, dict(zip(names, trained, strict=True)), optimizer, scaler)
    optimizer._opt_called = first > 1 or done > 0  # type: ignore[attr-defined]  # those steps are done: no warning is due
    for _ in range(1, first):
        schedule.step()
    for epoch in range(first, epochs + 1):
        order = batches(
            objective.count, task=task, phase=phase, epoch=epoch, batch_size=size, seed=seed, shuffle=shuffle
        )
        parts = [picked for _, picked in order][done:]
        loaded = prefetch(objective.pixels, map(parallel.shard, parts))
        for step, (picked, (own, pixels)) in enumerate(zip(parts, loaded, strict=True), start=done + 1):
            loss = backward(backbone, objective, picked, own, pixels, trained, scaler)
            value = require_finite(loss, task=task, phase=phase, epoch=epoch, step=step)
            scaler.step(optimizer)
            scaler.update()
            on_step(Step(task, phase, epoch, epochs, step, steps, len(picked), value))
            progress.after_step(
                phase, epoch, step, lambda: training_state(names, optimizer, scaler, progress), last=step == steps
            )
        done = 0
        schedule.step()
        yield epoch


def probe(
    backbone: Backbone, task: TaskData, settings: Settings, on_step: OnStep, progress: TaskCheckpoints | None = None
) -> Probe:
    """Find how many epochs keep the negative similarity within ``alpha`` of the un-tuned model's (docs/method.md 4).

    The adapters are trained for it and put back if it had to stop. The answer is at least 1 and at most ``max_epochs``; an
    ``alpha`` of None watches without ever stopping.
    """

    def gap() -> Gap:
        encoder.clear_text_cache()
        return measure_gap(
            encoder.images(task.pixels, shared=True), task.labels, encoder.texts(task.texts),
            logit_scale=backbone.logit_scale,
            batch_size=settings.adapter_batch_size, average=settings.gap_average,
        )  # fmt: skip

    encoder = Encoder(backbone, prompt=settings.prompt, batch_size=settings.encode_batch_size)
    progress = progress or TaskCheckpoints()
    initial, origin = adapter_state(backbone), gap()
    begun = progress.checkpoint_in("probe")
    seen = [Gap(*pair) for pair in progress.notes.get("seen", [])[: begun.epoch - 1 if begun else 0]]
    allowed, whole = settings.max_epochs, True
    training = train_epochs(
        backbone, task_objective(backbone, task, settings), settings,
        epochs=settings.max_epochs, task=task.index, phase="probe", on_step=on_step, lr=settings.adapter_lr, progress=progress,
    )  # fmt: skip
    for epoch in training:
        seen.append(gap())
        progress.notes["seen"] = [[gap.positive, gap.negative] for gap in seen]
        moved = parallel.broadcast_float(abs(seen[-1].negative - origin.negative) / abs(origin.negative))
        if settings.alpha is not None and moved > settings.alpha:
            allowed, whole = max(1, epoch - 1), False
            set_adapter_state(backbone, initial)
            break
    return Probe(origin, tuple(seen), allowed, whole)
