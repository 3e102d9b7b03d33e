"""What both training phases share: the order of a task's images, progress, and the check on the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mgclip.errors import MGCLIPError

PHASE_SEEDS = {
    "probe": 1, "adapter": 1, "head": 2, "balance-adapter": 3, "balance-head": 4, "rapf": 5, "ranpac": 6,
}  # fmt: skip
"""Part of the key each phase's order of images is drawn from, never to be changed. The probe's is the adapter phase's."""


@dataclass(frozen=True)
class Step:
    """One optimizer step, told to whoever watches. Counts start at 1; ``loss`` is the step's own."""

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
    """The loss stopped being a number."""


def batches(
    count: int, *, task: int, phase: str, epoch: int, batch_size: int, seed: int, shuffle: bool
) -> Iterator[tuple[int, Tensor]]:
    """Number (from 1) and positions ``(b,)`` of each batch of ``count`` items; the order depends only on seed, task, phase
    and epoch.
    """
    if shuffle:
        key = [seed, task, PHASE_SEEDS[phase], epoch]
        order = torch.from_numpy(np.random.default_rng(key).permutation(count))
    else:
        order = torch.arange(count)
    yield from enumerate(order.split(batch_size), start=1)


def require_finite(loss: Tensor, *, task: int, phase: str, epoch: int, step: int) -> float:
    """The loss as a number. Raises ``TrainingDiverged`` naming the place where it is NaN or infinite."""
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingDiverged(
            f"The loss became {value} at task {task}, {phase} epoch {epoch}, step {step}: the last finished task is "
            "kept; try a smaller learning rate, in a new run."
        )
    return value
