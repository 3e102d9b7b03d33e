"""How far a learn has come: a checkpoint every so many steps and at each phase, from which it goes on exactly.

The order of images depends on seed, task, phase and epoch alone: weights, Adam's moments and a place are all there is to keep.
Two checkpoints are kept in turn, each whole or not at all and with a checksum; one that is damaged is passed over, and without
any the task begins anew: the result is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mgclip.clip import parallel
from mgclip.disk import replace_file

ORDER = ("probe", "adapter", "balance-adapter", "head", "balance-head")
FILES = ("progress-a.safetensors", "progress-b.safetensors")


class Stopped(KeyboardInterrupt):
    """Somebody asked to stop, and everything up to this step is kept."""


@dataclass(frozen=True)
class Checkpoint:
    """A place in a task: ``step`` steps of ``epoch`` (from 1) of ``phase`` are done. ``notes`` is what was found on the way."""

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
    """Keeps checkpoints of one learn at a time in ``folder``, each ``every`` steps and epoch (0: at phases). No folder: none.

    ``stop`` is asked after each step: if it says so, the step is kept and ``Stopped`` raised.
    """

    folder: Path | None = None
    every: int = 0
    stop: Callable[[], bool] = lambda: False
    notes: dict[str, Any] = field(default_factory=dict)
    carried: dict[str, Tensor] = field(default_factory=dict)
    """Tensors that every further checkpoint of this task holds too."""
    found: Checkpoint | None = None
    _task: int = 0
    _steps: int = 0
    _number: int = 0

    def begin_task(self, task: int) -> None:
        """Begin a task, or go on with it where there is a checkpoint of it."""
        self._task, self.notes, self.carried, self.found = task, {}, {}, None
        if self.folder is None:
            return
        there = [c for c in (read_checkpoint(self.folder / name) for name in FILES) if c is not None]
        self._number = max((c.number for c in there), default=0)
        own = [c for c in there if c.task == task]
        if own:
            self.found = max(own, key=lambda c: c.number)
            self.notes = dict(self.found.notes)

    def is_past(self, phase: str) -> bool:
        """Whether the checkpoint gone on from lies in a later phase: this one is done."""
        return self.found is not None and ORDER.index(self.found.phase) > ORDER.index(phase)

    def checkpoint_in(self, phase: str) -> Checkpoint | None:
        """The checkpoint to go on from, if it lies in this phase."""
        return self.found if self.found is not None and self.found.phase == phase else None

    def after_step(
        self, phase: str, epoch: int, step: int, tensors: Callable[[], dict[str, Tensor]], *, last: bool
    ) -> None:
        """Keep a step if it is time, the last of its epoch, or somebody wants to stop. Raises ``Stopped``."""
        self._steps += 1
        stopping = parallel.broadcast_float(float(self.stop())) > 0 if parallel.launched() else self.stop()
        if stopping or (self.every and (last or self._steps % self.every == 0)):
            self.keep(phase, epoch, step, tensors())
        if stopping:
            raise Stopped

    def keep(self, phase: str, epoch: int, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Write a checkpoint in place of the older of two."""
        if self.folder is None or not parallel.is_main():
            return
        self._number += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = Checkpoint(self._number, self._task, phase, epoch, step, self.notes, dict(tensors))
        write_checkpoint(self.folder / FILES[self._number % 2], checkpoint)

    def discard(self) -> None:
        """The task is saved elsewhere: remove its checkpoints."""
        self.found = None
        if self.folder is not None and parallel.is_main():
            for name in FILES:
                (self.folder / name).unlink(missing_ok=True)


def training_state(
    names: Sequence[str], optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, progress: TaskCheckpoints
) -> dict[str, Tensor]:
    """Adapters and Adam's moments by name, to be kept; a scaler's numbers go into the notes."""
    progress.notes["scaler"] = scaler.state_dict()
    state: dict[str, Tensor] = {}
    for name, weight in zip(names, optimizer.param_groups[0]["params"], strict=True):
        state[f"adapter/{name}"] = weight
        state |= {f"{key}/{name}": value for key, value in optimizer.state[weight].items()}
    return {**state, **progress.carried}


def restore(
    checkpoint: Checkpoint,
    weights: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Put adapters and Adam's moments back as they were kept."""
    kept = {key: checkpoint.part(key) for key in ("adapter", "step", "exp_avg", "exp_avg_sq")}
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(kept["adapter"][name])
            if name in kept["step"]:  # at the start of a phase nothing has moved yet
                moments = {key: kept[key][name].to(weight.device) for key in ("exp_avg", "exp_avg_sq")}
                optimizer.state[weight] = {"step": kept["step"][name], **moments}
    scaler.load_state_dict(checkpoint.notes.get("scaler", {}) or scaler.state_dict())


def write_checkpoint(file: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all, and see it on disk."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    about = {
        key: getattr(checkpoint, key) for key in ("number", "task", "phase", "epoch", "step", "notes")
    }  # fmt: skip
    said = json.dumps(about, allow_nan=True)
    content = save(tensors, {"about": said, "checksum": _checksum(said, tensors)})
    replace_file(file, content)


def read_checkpoint(file: Path) -> Checkpoint | None:
    """A checkpoint; None where there is none, or it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            said = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
        if said.get("checksum") != _checksum(said.get("about", ""), tensors):
            return None
        found = Checkpoint(**json.loads(said["about"]), tensors=tensors)
        counts = (found.number, found.task, found.epoch, found.step)
        whole = found.phase in ORDER and isinstance(found.notes, dict) and all(isinstance(n, int) for n in counts)
        return found if whole else None
    except (
        OSError,
        SafetensorError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
    ):  # torch: replaced while it was read
        return None


def _checksum(said: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(said.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
