"""What all training phases share: their settings, the order of images, steps, and the check on the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from mgclip.errors import MGCLIPError

PHASE_SEEDS = {"probe": 1, "adapter": 1, "head": 2, "balance-adapter": 3, "balance-head": 4, "rapf": 5, "ranpac": 6}
"""Part of the key from which the order of images of a phase is drawn. Never change it: saved runs depend on it.

The probe has the number of the adapter phase, so a completed probe has trained exactly what that phase would.
"""


@dataclass(frozen=True)
class Phase:
    """One training phase of one task.

    Attributes:
        name: A key of ``PHASE_SEEDS``, or another name.
        task: The task's index in the stream.
        epochs: Passes over all images.
        rate: Adam's learning rate at the start.
        lowest: The rate at which cosine annealing ends.
        batch_size: Images of one optimizer step.
        seed: The seed of the run; with name, task and epoch it decides the order of images.
        shuffle: If false, images pass in the order given.
    """

    name: str
    task: int
    epochs: int
    rate: float
    lowest: float
    batch_size: int
    seed: int
    shuffle: bool

    def steps(self, count: int) -> int:
        """Optimizer steps of one epoch over ``count`` images."""
        return -(-count // self.batch_size)

    def batches(self, count: int, epoch: int) -> Iterator[tuple[int, Tensor]]:
        """Number (from 1) and positions ``(b,)`` of each batch of ``count`` images in one epoch."""
        order = image_order(count, self.name, task=self.task, epoch=epoch, seed=self.seed, shuffle=self.shuffle)
        yield from enumerate(order.split(self.batch_size), start=1)

    def step(self, epoch: int, step: int, count: int, images: int, loss: Tensor) -> Step:
        """A finished step, for the ``on_step`` callback. Raises ``TrainingDiverged`` if the loss is NaN or infinite."""
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"The loss became {value} at task {self.task}, {self.name} epoch {epoch}, step {step}: the last finished "
                "task is kept; try a smaller learning rate, in a new run."
            )
        return Step(self.task, self.name, epoch, self.epochs, step, self.steps(count), images, value)


@dataclass(frozen=True)
class Step:
    """One optimizer step, as reported to the ``on_step`` callback. Counts start at 1; ``loss`` is the step's own."""

    task: int
    phase: str
    epoch: int
    epochs: int
    step: int
    steps: int
    images: int
    loss: float


OnStep = Callable[[Step], None]


class TrainingDiverged(MGCLIPError):
    """The loss is no longer finite."""


def image_order(count: int, phase: str, *, task: int, epoch: int, seed: int, shuffle: bool) -> Tensor:
    """Positions ``(count,)`` in the order in which a phase visits its images; it depends on nothing but the arguments."""
    if not shuffle:
        return torch.arange(count)
    number = PHASE_SEEDS.get(phase) or crc32(phase.encode())  # a phase of a method of another package
    return torch.from_numpy(np.random.default_rng([seed, task, number, epoch]).permutation(count))
