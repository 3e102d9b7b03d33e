"""What a learn from folders has done so far: kept beside the model until it is saved, and gone on with by the same learn only."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mgclip.method.learner import MGCLIP
from mgclip.method.settings import RUNTIME_SETTINGS
from mgclip.saving.checkpoints import TaskCheckpoints
from mgclip.saving.store import PROGRESS, is_saved, read_manifest


def open_task_checkpoints(
    folder: Path,
    model: MGCLIP,
    train: Mapping[str, Sequence[Path]],
    texts: Sequence[str],
    *,
    every: int,
    stop: Callable[[], bool],
) -> TaskCheckpoints:
    """Checkpoints of this learn in a folder of its own inside ``folder``; those of any other learn are removed.

    It is the same learn where model, version in force, settings, classes, texts and the names, sizes and times of all files are.
    """
    state = read_manifest(folder)[1].name if is_saved(folder) else ""
    digest = hashlib.sha256(
        f"{model.backbone.fingerprint}\0{state}\0{model.settings.model_dump_json(exclude=RUNTIME_SETTINGS)}".encode()
    )
    for (name, files), text in zip(train.items(), texts, strict=True):
        digest.update(f"\0{name}\0{text}\0".encode("utf-8", "surrogatepass"))
        for file in files:
            about = file.stat()
            digest.update(os.fsencode(f"{file.name}:{about.st_size}:{about.st_mtime_ns}\0"))
    place = folder / f"{PROGRESS}{digest.hexdigest()[:16]}"
    remove_task_checkpoints(folder, keep=place)
    return TaskCheckpoints(place, every, stop)


def remove_task_checkpoints(folder: Path, keep: Path | None = None) -> None:
    """Remove what was kept of learns, but for one."""
    for other in folder.glob(f"{PROGRESS}*"):
        if other != keep:
            shutil.rmtree(other, ignore_errors=True)
