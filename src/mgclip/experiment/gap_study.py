"""The modality gap of a CLIP on data, as it is and while it is fine-tuned (docs/gap.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgclip.clip.adapters import adapter_state, set_adapter_state
from mgclip.errors import InputError
from mgclip.method.geometry import Geometry, geometry, projection
from mgclip.method.learner import MGCLIP
from mgclip.method.preservation import task_objective, train_epochs
from mgclip.method.task import make_task
from mgclip.method.training import OnStep, Step
from mgclip.stream.data import Dataset, Split, Subset
from mgclip.stream.datasets import NAMES, load_dataset
from mgclip.stream.tasks import unique_names

Loss = Literal["cross-entropy", "align"]


@dataclass(frozen=True)
class Sample:
    """Some classes of a data set, with a few images of each to look at, and the images to fine-tune on."""

    names: tuple[str, ...]
    texts: tuple[str, ...]
    shown: Split
    train: Split


@dataclass(frozen=True)
class Trace:
    """The geometry before the first step (step 0) and after each measured one, while fine-tuning with a loss."""

    loss: str
    steps: tuple[int, ...]
    points: tuple[Geometry, ...]
    steps_per_epoch: int


def load_sample(data: str, path: str | None, *, classes: int, per_class: int, train: bool) -> Sample:
    """The first ``classes`` classes of a data set by name or of a folder of class folders, ``per_class`` test images of each.

    ``train`` asks for training images too. Raises ``InputError`` where the data cannot be had or has no second class.
    """
    dataset = _load(data, path, per_class=per_class, train=train)
    count = min(classes or len(dataset.class_names), len(dataset.class_names))
    if count < 2:
        raise InputError(f"The gap needs two classes at least; {dataset.name} gives {count}.")
    shown, trained = _first(dataset.test, count, per_class), _first(dataset.train, count, None)
    for split in (shown, trained) if train else (shown,):
        if empty := [dataset.class_names[c] for c in range(count) if c not in split.labels]:
            raise InputError(f"The class {empty[0]!r} of {dataset.name} has no image: add one, or leave it out.")
    names = dataset.class_names[:count]
    return Sample(tuple(unique_names(names)), names, shown, trained)


def _load(data: str, path: str | None, *, per_class: int, train: bool) -> Dataset:
    if data in NAMES:
        return load_dataset(data, path=path, test_per_class=per_class, test_only=not train)
    if path is not None:
        raise InputError(f"{data} is a folder and lies where it lies: leave --path {path} out.")
    if not Path(data).expanduser().is_dir():
        raise InputError(f"There is no data {data}: give a data set ({', '.join(NAMES)}) or a folder of class folders.")
    from mgclip.stream.folder import find_parts, load_folder, read_classes

    place = Path(data).expanduser()
    parts = find_parts(place)
    if parts.train is not None and parts.test is not None:
        return load_folder(place)
    found = read_classes(parts.train or parts.test or place)
    images = [file for files in found.values() for file in files]
    labels = np.repeat(np.arange(len(found)), [len(files) for files in found.values()])
    return Dataset(place.name, tuple(found), Split(images, labels), Split(images, labels))


def _first(split: Split, classes: int, per_class: int | None) -> Split:
    """The images of the first classes, at most ``per_class`` of each, in the data's own order."""
    chosen: list[NDArray[np.int64]] = [np.flatnonzero(split.labels == label)[:per_class] for label in range(classes)]
    places = np.sort(np.concatenate(chosen)) if len(split.labels) else np.empty(0, dtype=np.int64)
    return Split(Subset(split.images, places), split.labels[places])


class Study:
    """A model and a sample, its images prepared once."""

    def __init__(self, model: MGCLIP, sample: Sample) -> None:
        self.model, self.sample = model, sample
        self.pixels = model.encoder.pixels(sample.shown.images)
        self.labels = torch.from_numpy(sample.shown.labels).to(model.backbone.device)

    def features(self) -> tuple[Tensor, Tensor]:
        """Image features ``(n, d)`` and text features ``(c, d)`` with the adapters as they are."""
        self.model.encoder.renew()
        return self.model.encoder.images(self.pixels), self.model.encoder.texts(self.sample.texts)

    def measure(self) -> Geometry:
        """The geometry of the sample with the adapters as they are."""
        images, texts = self.features()
        return geometry(images, self.labels, texts, logit_scale=self.model.backbone.logit_scale.item())

    def picture(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Images and texts in the plane."""
        return projection(*self.features())

    def track(self, loss: Loss, *, epochs: int, points: int, on_step: OnStep = lambda step: None) -> Trace:
        """Fine-tune the adapters with a loss, measure about ``points`` times, and put the adapters back."""
        model, sample = self.model, self.sample
        settings = model.settings.model_copy(update={"adapter_loss": loss})
        task = make_task(
            model.encoder.pixels(sample.train.images), sample.train.named(sample.names), sample.names,
            index=0, known=(), class_texts=sample.texts,
        )  # fmt: skip
        before = adapter_state(model.backbone)
        per_epoch = -(-len(task.labels) // settings.adapter_batch_size)
        every = max(1, epochs * per_epoch // points)
        steps, found = [0], [self.measure()]

        def look(step: Step) -> None:
            on_step(step)
            done = (step.epoch - 1) * step.steps + step.step
            if done % every == 0 or done == step.epochs * step.steps:
                steps.append(done)
                found.append(self.measure())

        try:
            for _ in train_epochs(
                model.backbone, task_objective(model.backbone, task, settings), settings,
                epochs=epochs, task=0, phase="adapter", on_step=look, lr=settings.adapter_lr,
            ):  # fmt: skip
                pass
        finally:
            set_adapter_state(model.backbone, before)
            model.encoder.renew()
        return Trace(loss, tuple(steps), tuple(found), per_epoch)


def as_record(origin: Geometry, traces: Sequence[Trace]) -> dict[str, Any]:
    """All numbers of a study, plain; what was not measured is null."""

    def plain(point: Geometry) -> dict[str, float | None]:
        return {name: None if value != value else value for name, value in asdict(point).items()}

    return {
        "gap": plain(origin),
        "traces": [
            {
                "loss": t.loss,
                "steps": list(t.steps),
                "steps_per_epoch": t.steps_per_epoch,
                "points": [plain(p) for p in t.points],
            }
            for t in traces
        ],
    }
