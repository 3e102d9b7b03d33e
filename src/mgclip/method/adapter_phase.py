"""The adapter phase of a task: cross-entropy of text logits over the task's own classes (docs/method.md 5)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.adapters import adapter_weights
from mgclip.clip.backbone import Backbone
from mgclip.clip.pixels import prefetch
from mgclip.method.objective import Objective, backward, mean_weights
from mgclip.method.settings import Settings
from mgclip.method.task import TaskData
from mgclip.method.training import OnStep, Phase
from mgclip.saving.checkpoints import TaskCheckpoints, restore_training, training_state


def adapter_phase(settings: Settings, task: int, epochs: int, name: str = "adapter") -> Phase:
    """The published schedule: from ``adapter_lr`` down to 1 % of it, cosine annealing stepped per epoch."""
    rate = settings.adapter_lr
    return Phase(name, task, epochs, rate, 0.01 * rate, settings.adapter_batch_size, settings.seed, settings.shuffle)


def task_objective(backbone: Backbone, task: TaskData, settings: Settings) -> Objective:
    """Cross-entropy over the classes of the task, whose texts are the only ones encoded.

    With ``adapter_loss: align`` it is 1 - <f(x), g(y)> instead, which pulls each image to the text of its class.
    """

    def losses(images: Tensor, texts: Tensor, picked: Tensor) -> Tensor:
        labels = task.labels[picked].to(images.device)
        if settings.adapter_loss == "align":
            return 1 - (images * texts[labels]).sum(-1)
        return F.cross_entropy(backbone.logit_scale * images @ texts.T, labels, reduction="none")

    tokens = backbone.class_tokens(settings.templates, task.texts)
    return Objective(len(task.labels), task.pixels.batch, tokens, mean_weights, losses)


def train_adapters(
    backbone: Backbone,
    objective: Objective,
    phase: Phase,
    *,
    on_step: OnStep,
    on_epoch: Callable[[int], bool] = lambda epoch: True,
    checkpoints: TaskCheckpoints | None = None,
) -> bool:
    """Train the adapters with Adam; the rate follows a cosine stepped once per epoch.

    Args:
        backbone: The CLIP with the adapters, which are trained in place.
        objective: The loss to minimise.
        phase: Its epochs, batches and learning rates.
        on_step: Called after each step.
        on_epoch: Called after each epoch with its number, from 1; if it returns false, training stops.
        checkpoints: Checkpoints, from the latest of which in this phase training resumes.

    Returns:
        Whether all epochs were trained.

    Raises:
        TrainingDiverged: If the loss is no longer finite.
    """
    checkpoints = checkpoints or TaskCheckpoints()
    names, trained = zip(*adapter_weights(backbone), strict=True)
    optimizer = torch.optim.Adam(trained, lr=phase.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, phase.epochs, eta_min=phase.lowest)
    scaler = torch.amp.GradScaler(backbone.device.type, enabled=backbone.compute.precision == "float16")

    def saved_state() -> dict[str, Tensor]:
        return training_state(names, optimizer, scaler, checkpoints)

    saved = checkpoints.checkpoint_in(phase.name)
    first, done = (saved.epoch, saved.step) if saved is not None else (1, 0)
    if saved is not None:
        restore_training(saved, dict(zip(names, trained, strict=True)), optimizer, scaler)
        backbone.weights_changed()
    # A resumed schedule steps before the optimizer does, and float16 may skip its first step: both are right, without a warning.
    optimizer._opt_called = True  # type: ignore[attr-defined]
    for _ in range(1, first):
        schedule.step()
    for epoch in range(first, phase.epochs + 1):
        parts = [picked for _, picked in phase.batches(objective.count, epoch)][done:]
        loaded = prefetch(objective.pixels, map(parallel.shard, parts))
        for step, (picked, (_, pixels)) in enumerate(zip(parts, loaded, strict=True), start=done + 1):
            loss = backward(backbone, objective, picked, pixels, trained, scaler)
            made = phase.step(epoch, step, objective.count, len(picked), loss)
            scaler.step(optimizer)
            scaler.update()
            backbone.weights_changed()
            on_step(made)
            checkpoints.after_step(phase.name, epoch, step, saved_state, last=step == made.steps)
        done = 0
        schedule.step()
        if not on_epoch(epoch):
            return False
    return True
