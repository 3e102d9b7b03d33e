"""Checkpoints within one task, from which training resumes exactly.

The order of images depends on seed, task, phase and epoch alone, so weights, Adam's moments and a position are all that must be
saved. Two files are written in turn, each atomically and with a checksum. A damaged one is ignored; if none is left, the
task starts again, with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from mgclip.clip import parallel
from mgclip.saving.checked_file import read_checked, write_checked

ORDER = ("probe", "adapter", "balance-adapter", "head", "balance-head")
"""The phases of a task."""
ABOUT = ("number", "task", "phase", "epoch", "step", "notes")
"""The fields of a checkpoint besides its tensors."""
FILES = ("progress-a.safetensors", "progress-b.safetensors")
"""The two files that are written in turn."""

Result = TypeVar("Result")


class Stopped(KeyboardInterrupt):
    """The user asked to stop. Everything up to this step is saved."""


@dataclass(frozen=True)
class Checkpoint:
    """A position in a task.

    Attributes:
        number: Counts the checkpoints of the folder, so that the latest one is known.
        task: The index of the task.
        phase: The phase, one of ``ORDER``.
        epoch: The epoch of the phase, from 1.
        step: How many steps of this epoch are done.
        notes: Results of finished phases.
        tensors: Adapters and Adam's moments by name; in later phases also the head.
    """

    number: int
    task: int
    phase: str
    epoch: int
    step: int
    notes: dict[str, Any]
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``prefix/``, without it."""
        return {name[len(prefix) + 1 :]: t for name, t in self.tensors.items() if name.startswith(f"{prefix}/")}


@dataclass
class TaskCheckpoints:
    """Checkpoints of one task at a time.

    Attributes:
        folder: Where they are written; without a folder, none are.
        every: Steps between checkpoints, besides those at the start of each phase and after each epoch (0: phases only).
        stop: Called after each step; if it returns true, the step is saved and ``Stopped`` raised.
        notes: Results of finished phases, saved with every checkpoint.
        carried: Tensors to add to every further checkpoint of this task.
        found: The checkpoint from which the task resumes.
    """

    folder: Path | None = None
    every: int = 0
    stop: Callable[[], bool] = lambda: False
    notes: dict[str, Any] = field(default_factory=dict)
    carried: dict[str, Tensor] = field(default_factory=dict)
    found: Checkpoint | None = None
    _weights: Callable[[], Mapping[str, Tensor]] = dict
    _task: int = 0
    _steps: int = 0
    _number: int = 0

    def begin_task(self, task: int, weights: Callable[[], Mapping[str, Tensor]]) -> None:
        """Start a task, or resume it if it has a checkpoint that all processes have read. All of them must call this.

        Args:
            task: The index of the task.
            weights: Returns the adapters, for the start of each phase.
        """
        self._task, self._weights, self.notes, self.carried, self.found = task, weights, {}, {}, None
        if self.folder is None:
            return
        saved = [c for c in (read_checkpoint(self.folder / name) for name in FILES) if c is not None]
        self._number = max((c.number for c in saved), default=0)
        own = {(c.number, c.phase, c.epoch, c.step): c for c in saved if c.task == task}
        # A process on another machine may not see the latest file yet, and would train other steps than the others.
        common = set(own).intersection(*parallel.gather_items([list(own)]))
        self.found = own[max(common)] if common else None
        if self.found is not None:
            self.notes = dict(self.found.notes)

    def run(self, phase: str, work: Callable[[], Result], *, recall: Callable[[Checkpoint], Result]) -> Result:
        """Run a phase, whose start is saved; if the task resumes in a later phase, take its result from the checkpoint.

        Args:
            phase: Its name, one of ``ORDER``.
            work: Runs it, and returns its result.
            recall: Returns its result from a checkpoint of a later phase.

        Returns:
            The result.
        """
        if self.found is not None and self.is_past(phase):
            return recall(self.found)
        if self.folder is not None and self.checkpoint_in(phase) is None:
            self.notes.pop("scaler", None)  # each phase has its own
            adapters = {f"adapter/{name}": weight for name, weight in self._weights().items()}
            self.save(phase, 1, 0, {**adapters, **self.carried})
        return work()

    def is_past(self, phase: str) -> bool:
        """Whether the task resumes in a later phase, so that this one is finished."""
        return self.found is not None and ORDER.index(self.found.phase) > ORDER.index(phase)

    def checkpoint_in(self, phase: str) -> Checkpoint | None:
        """The checkpoint to resume from if it is in this phase."""
        return self.found if self.found is not None and self.found.phase == phase else None

    def after_step(self, phase: str, epoch: int, step: int, tensors: Callable[[], dict[str, Tensor]], *, last: bool) -> None:
        """Save a step if it is due, the last of its epoch, or the user asked to stop.

        Raises:
            Stopped: If the user asked to stop.
        """
        self._steps += 1
        stopping = parallel.broadcast_float(float(self.stop())) > 0  # all processes stop together
        if stopping or (self.every and (last or self._steps % self.every == 0)):
            self.save(phase, epoch, step, tensors())
        if stopping:
            raise Stopped

    def save(self, phase: str, epoch: int, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Write a checkpoint over the older of the two."""
        if self.folder is None or not parallel.is_main():
            return
        self._number += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = Checkpoint(self._number, self._task, phase, epoch, step, self.notes, dict(tensors))
        write_checkpoint(self.folder / FILES[self._number % 2], checkpoint)

    def discard(self) -> None:
        """Remove the task's checkpoints, once the model is saved."""
        self.found = None
        if self.folder is not None and parallel.is_main():
            for name in FILES:
                (self.folder / name).unlink(missing_ok=True)


def training_state(
    names: Sequence[str], optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, checkpoints: TaskCheckpoints
) -> dict[str, Tensor]:
    """Adapters and Adam's moments by name; the state of the gradient scaler goes into the notes."""
    checkpoints.notes["scaler"] = scaler.state_dict()
    state: dict[str, Tensor] = {}
    for name, weight in zip(names, optimizer.param_groups[0]["params"], strict=True):
        state[f"adapter/{name}"] = weight
        state |= {f"{key}/{name}": value for key, value in optimizer.state[weight].items()}
    return {**state, **checkpoints.carried}


def restore_training(
    checkpoint: Checkpoint,
    weights: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Restore the adapters, Adam's moments and the state of the gradient scaler."""
    saved = {key: checkpoint.part(key) for key in ("adapter", "step", "exp_avg", "exp_avg_sq")}
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(saved["adapter"][name])
            if name in saved["step"]:  # at the start of a phase Adam has no moments yet
                moments = {key: saved[key][name].to(weight.device) for key in ("exp_avg", "exp_avg_sq")}
                optimizer.state[weight] = {"step": saved["step"][name], **moments}
    scaler.load_state_dict(checkpoint.notes.get("scaler", {}) or scaler.state_dict())


def write_checkpoint(file: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically."""
    write_checked(file, {key: getattr(checkpoint, key) for key in ABOUT}, checkpoint.tensors)


def read_checkpoint(file: Path) -> Checkpoint | None:
    """A checkpoint; None if there is none, or it is damaged."""
    read = read_checked(file)
    if read is None:
        return None
    about, tensors = read
    try:
        found = Checkpoint(**about, tensors=tensors)
    except TypeError:
        return None
    counts = (found.number, found.task, found.epoch, found.step)
    valid = found.phase in ORDER and isinstance(found.notes, dict) and all(isinstance(n, int) for n in counts)
    return found if valid else None
