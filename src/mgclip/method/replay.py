"""Replay: a small memory of old images, trained on together with each new task (docs/method.md 8). Off by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.clip.adapters import set_adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder
from mgclip.clip.pixels import PreparedImages
from mgclip.errors import InputError
from mgclip.method.adapter_phase import train_adapters
from mgclip.method.compensation import train_rows
from mgclip.method.objective import Objective, mean_weights
from mgclip.method.settings import Settings
from mgclip.method.task import TaskData
from mgclip.method.training import OnStep, Phase
from mgclip.saving.checkpoints import TaskCheckpoints
from mgclip.saving.store import RESTORE


@dataclass(frozen=True)
class Memory:
    """Old images: transformed ``pixels`` ``(m, 3, s, s)`` uint8 and ``labels`` ``(m,)``, positions in all learned classes.

    The images of a class are in the random order in which they were chosen.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def tensors(self) -> dict[str, Tensor]:
        """As named tensors, for saving."""
        return {"pixels": self.pixels, "labels": self.labels}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Memory:
        """From named tensors. Raises ``InputError`` if they are not a memory."""
        try:
            pixels, labels = tensors["pixels"], tensors["labels"]
        except KeyError as error:
            raise InputError(f"The model's memory lacks {error}: {RESTORE}") from None
        if pixels.ndim != 4 or labels.shape != pixels.shape[:1]:
            shapes = f"{tuple(pixels.shape)} images, {tuple(labels.shape)} labels"
            raise InputError(f"The model's memory is inconsistent ({shapes}): {RESTORE}")
        return cls(pixels, labels)


def check_room(limit: int, classes: int) -> None:
    """Check that a memory of ``limit`` images can hold one of every class. Raises ``InputError`` if it cannot."""
    if classes > limit:
        raise InputError(f"memory = {limit} is smaller than the number of classes ({classes}): raise it or set it to 0.")


def remember(memory: Memory | None, task: TaskData, *, first: int, limit: int, seed: int) -> Memory:
    """The memory after a task: an equal share for each class so far, new images chosen at random.

    A class with fewer images than its share keeps them all.

    Args:
        memory: The memory before; None before the first task.
        task: The task.
        first: The label of its first class.
        limit: The number of images in total.
        seed: Decides, with the index of the task, which images are chosen.
    """
    share = limit // (first + len(task.names))
    rng = np.random.default_rng([seed, task.index])
    pixels, labels = [], []
    if memory is not None:
        places = torch.cat([torch.nonzero(memory.labels == label)[:share, 0] for label in range(first)])
        pixels, labels = [memory.pixels[places]], [memory.labels[places]]
    for label in range(len(task.names)):
        own = torch.nonzero(task.labels == label)[:, 0]
        chosen = own[torch.from_numpy(rng.permutation(len(own))[:share])]
        pixels.append(task.pixels.batch(chosen))
        labels.append(torch.full((len(chosen),), first + label))
    return Memory(torch.cat(pixels), torch.cat(labels))


def replay_objective(
    backbone: Backbone, task: TaskData, memory: Memory, tokens: Tensor, first: int, settings: Settings
) -> Objective:
    """Cross-entropy of new images over the task's own classes, and of memory images over all classes so far.

    Items are the task's images, then the memory's. The second term has the weight ``replay_weight``; a batch without images of
    one kind has no term for it.

    Args:
        backbone: The CLIP.
        task: The task.
        memory: The old images.
        tokens: Token ids of all classes so far, those of the task last.
        first: The label of the task's first class.
        settings: The settings of the model.
    """
    count = len(task.labels)

    def pixels(picked: Tensor) -> Tensor:
        new = picked < count
        images = torch.empty(len(picked), *memory.pixels.shape[1:], dtype=torch.uint8)
        images[~new] = memory.pixels[picked[~new] - count]
        if new.any():
            images[new] = task.pixels.batch(picked[new])
        return images

    def weights(picked: Tensor) -> Tensor:
        new = picked < count
        share = torch.where(new, 1.0, settings.replay_weight)
        return share / torch.where(new, new.sum(), (~new).sum())

    def losses(images: Tensor, texts: Tensor, picked: Tensor) -> Tensor:
        logits, new = backbone.logit_scale * images @ texts.T, picked < count  # [m, c]
        result = torch.empty(len(picked), device=logits.device)
        own, past = task.labels[picked[new]], memory.labels[picked[~new] - count]
        result[new] = F.cross_entropy(logits[new, first:], own.to(logits.device), reduction="none")
        result[~new] = F.cross_entropy(logits[~new], past.to(logits.device), reduction="none")
        return result

    return Objective(count + len(memory), pixels, tokens, weights, losses)


def balance_adapters(
    backbone: Backbone,
    memory: Memory,
    tokens: Tensor,
    settings: Settings,
    task: int,
    on_step: OnStep,
    checkpoints: TaskCheckpoints,
) -> None:
    """Fine-tune the adapters on the memory, with cross-entropy over all classes so far (docs/method.md 8).

    Args:
        backbone: The CLIP with the adapters, which are trained in place.
        memory: The images of all classes so far.
        tokens: Token ids of these classes.
        settings: The settings of the model.
        task: The index of the task.
        on_step: Called after each step.
        checkpoints: Checkpoints of the task.
    """

    def losses(images: Tensor, texts: Tensor, picked: Tensor) -> Tensor:
        labels = memory.labels[picked].to(images.device)
        return F.cross_entropy(backbone.logit_scale * images @ texts.T, labels, reduction="none")

    def train() -> None:
        objective = Objective(len(memory), lambda picked: memory.pixels[picked], tokens, mean_weights, losses)
        train_adapters(backbone, objective, phase, on_step=on_step, checkpoints=checkpoints)

    rate = 0.01 * settings.adapter_lr
    phase = _balanced_phase(settings, task, "balance-adapter", rate, 0.1 * rate)
    checkpoints.run(phase.name, train, recall=lambda done: set_adapter_state(backbone, done.part("adapter")))


def balance_head(
    head: Tensor,
    memory: Memory,
    encoder: Encoder,
    settings: Settings,
    task: int,
    on_step: OnStep,
    checkpoints: TaskCheckpoints,
) -> Tensor:
    """The head ``(c, d)`` with all its rows fine-tuned on the memory (docs/method.md 8).

    Args:
        head: The head before, which is not changed.
        memory: The images of all classes so far.
        encoder: The adapted CLIP.
        settings: The settings of the model.
        task: The index of the task.
        on_step: Called after each step.
        checkpoints: Checkpoints of the task.
    """

    def train() -> Tensor:
        features = encoder.images(PreparedImages.of(memory.pixels), shared=True)
        return train_rows(head, features, memory.labels.to(head.device), phase, on_step)

    # The lowest rate is a share of the adapters' rate, as in the published code.
    phase = _balanced_phase(settings, task, "balance-head", 0.1 * settings.head_lr, 0.01 * settings.adapter_lr)
    checkpoints.carried["head"] = head
    return checkpoints.run(phase.name, train, recall=lambda done: done.tensors["head"])


def _balanced_phase(settings: Settings, task: int, name: str, rate: float, lowest: float) -> Phase:
    """Balanced fine-tuning of the adapters and of the head takes the same number of epochs and the adapters' batch size."""
    size, seed, shuffle = settings.adapter_batch_size, settings.seed, settings.shuffle
    return Phase(name, task, settings.balanced_epochs, rate, lowest, size, seed, shuffle)
