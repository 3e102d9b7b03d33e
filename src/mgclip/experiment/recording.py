"""A recorded run of the published code or of the slow reference implementation, stored in a folder.

``clip-mini/`` (a CLIP, unless the settings name the embedded one), ``photos.npz`` (images, labels, class names),
``adapter_init.safetensors`` (the adapter to start from), ``trace.json`` (settings; for each task every loss, the gap of the
pre-trained model, predictions), ``final.safetensors`` (adapter and head at the end) and, if a probe was recorded, ``probe.json``.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from mgclip.errors import InputError, first_line
from mgclip.method.build_settings import build
from mgclip.method.gap import Gap
from mgclip.method.settings import Settings
from mgclip.missing import not_found
from mgclip.stream.data import Dataset, Split
from mgclip.stream.tasks import Task, make_tasks, task_sizes
from mgclip.validation import problems
from mgclip.words import count

EMBEDDED = Path(str(files("mgclip") / "assets" / "recording"))
"""The recording inside the package, made by ``scripts/record_conformance.py``."""


class Config(BaseModel):
    """The settings of a recorded run."""

    clip: Literal["clip-mini", "iconclip"] = "clip-mini"
    """The CLIP inside the recording, or the one inside the package."""
    adapter_rank: int
    adapter_alpha: float
    adapter_lr: float
    epochs: int
    adapter_batch_size: int
    head_lr: float
    head_epochs: int
    head_batch_size: int
    eval_batch_size: int
    vision_weight: float
    prompt: str
    class_order: list[int]
    initial_classes: int
    classes_per_task: int
    shuffle: bool
    seed: int = 0


class TaskTrace(BaseModel):
    """The recording of one task."""

    zero_shot_positive_logit: float
    zero_shot_negative_logit: float
    adapter_losses: list[float]
    head_losses: list[float]
    predictions: list[int]


class Trace(BaseModel):
    """``trace.json``."""

    config: Config
    tasks: list[TaskTrace]


class ProbeConfig(BaseModel):
    """The settings of a recorded probe."""

    max_epochs: int
    alpha: float
    adapter_batch_size: int
    adapter_lr: float


class ProbeTrace(BaseModel):
    """``probe.json``."""

    config: ProbeConfig
    zero_shot: Gap
    epochs: list[Gap]
    losses: list[float]
    chosen_epochs: int


@dataclass(frozen=True)
class Recording:
    """A recording: what the replay is compared with, and the stream to replay."""

    folder: Path
    trace: Trace
    probe: ProbeTrace | None
    final: dict[str, torch.Tensor]
    dataset: Dataset
    stream: list[Task]
    settings: Settings

    @property
    def clip(self) -> Path | str:
        """What ``load_backbone`` loads the recorded run's CLIP from."""
        return self.folder / "clip-mini" if self.trace.config.clip == "clip-mini" else self.trace.config.clip


def read_recording(folder: Path) -> Recording:
    """Read and check a recording. Raises ``InputError``, naming the folder or file, if one is missing or not valid."""
    if not folder.exists():
        raise not_found("folder", folder)
    trace = _read(Trace, folder / "trace.json")
    probe = _read(ProbeTrace, folder / "probe.json") if (folder / "probe.json").is_file() else None
    dataset = _read_photos(folder)
    config = trace.config
    if sorted(config.class_order) != list(range(len(dataset.class_names))):
        raise InputError(
            f"The class_order in {folder / 'trace.json'} does not list every class of photos.npz exactly once: restore it from a "
            "backup."
        )
    sizes = task_sizes(len(config.class_order), initial=config.initial_classes, increment=config.classes_per_task)
    if len(sizes) != len(trace.tasks):
        raise InputError(
            f"{folder / 'trace.json'} records {count(len(trace.tasks), 'task')}; its settings make {len(sizes)}: restore it from "
            "a backup."
        )
    try:
        final = load_file(folder / "final.safetensors")
    except (OSError, SafetensorError) as error:
        raise _unreadable(folder / "final.safetensors", error) from None
    stream = make_tasks(dataset, config.class_order, sizes)
    return Recording(folder, trace, probe, final, dataset, stream, _settings(folder, config))


Part = TypeVar("Part", bound=BaseModel)


def _read(kind: type[Part], file: Path) -> Part:
    try:
        return kind.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise InputError(f"{file} of the recording is not valid ({problems(error)[0]}).") from None
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> InputError:
    return InputError(
        f"{file} of the recording cannot be read ({first_line(error)}): restore it, or give the folder of a complete recording."
    )


def _read_photos(folder: Path) -> Dataset:
    try:
        with np.load(folder / "photos.npz", allow_pickle=False) as photos:
            train = Split(photos["x_train"], photos["y_train"].astype(np.int64))
            test = Split(photos["x_test"], photos["y_test"].astype(np.int64))
            names = tuple(str(name) for name in photos["class_names"])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(folder / "photos.npz", error) from None
    return Dataset(folder.name, names, train, test)


def _settings(folder: Path, config: Config) -> Settings:
    values = config.model_dump(include=set(Settings.model_fields)) | {
        "rank": config.adapter_rank,
        "lora_alpha": config.adapter_alpha,
        "encode_batch_size": config.eval_batch_size,
        "adapter_init": str(folder / "adapter_init.safetensors"),
    }
    return build(Settings, values, source=f"In {folder / 'trace.json'}")
