"""Checkpoints of learning from a folder: stored in the model's folder until the model is saved."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mgclip.method.learner import MGCLIP
from mgclip.method.settings import RUNTIME_SETTINGS
from mgclip.saving.checkpoints import TaskCheckpoints
from mgclip.saving.store import PROGRESS, active_state


def open_task_checkpoints(
    folder: Path,
    model: MGCLIP,
    train: Mapping[str, Sequence[Path]],
    texts: Sequence[str],
    *,
    every: int,
    stop: Callable[[], bool],
) -> TaskCheckpoints:
    """Open the checkpoints of a training run, and remove those of all others.

    A training run is the same if the CLIP, its precision, the active version, the settings, classes and texts are the same, and
    the names, sizes and times of all files.

    Args:
        folder: Folder of the model.
        model: The model.
        train: Training images by class.
        texts: What prompts call each class.
        every: Steps between checkpoints.
        stop: Called after each step; if it returns True, the step is saved and ``Stopped`` raised.
    """
    state = active_state(folder)
    clip, settings = model.backbone, model.settings.model_dump_json(exclude=RUNTIME_SETTINGS)
    digest = hashlib.sha256(f"{clip.fingerprint}\0{clip.image_precision}\0{state}\0{settings}".encode())
    for (name, files), text in zip(train.items(), texts, strict=True):
        digest.update(f"\0{name}\0{text}\0".encode("utf-8", "surrogatepass"))
        for file in files:
            about = file.stat()  # copying can restore the time of a file, but not that of its change
            digest.update(os.fsencode(f"{file.name}:{about.st_size}:{about.st_mtime_ns}:{about.st_ctime_ns}\0"))
    return TaskCheckpoints(progress_folder(folder, digest.hexdigest()[:16]), every, stop)


def progress_folder(folder: Path, run: str) -> Path:
    """The folder for the checkpoints of this training run. Those of all others are removed."""
    own = folder / f"{PROGRESS}{run}"
    remove_task_checkpoints(folder, keep=own)
    return own


def remove_task_checkpoints(folder: Path, keep: Path | None = None) -> None:
    """Remove the checkpoints of all training runs but one."""
    for other in folder.glob(f"{PROGRESS}*"):
        if other != keep:
            shutil.rmtree(other, ignore_errors=True)
