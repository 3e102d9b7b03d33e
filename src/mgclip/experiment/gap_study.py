"""The modality gap of a CLIP on data, before and during fine-tuning (docs/gap.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgclip.clip.adapters import adapter_state, set_adapter_state
from mgclip.errors import InputError
from mgclip.experiment.geometry import Geometry, geometry
from mgclip.experiment.geometry import projection as project
from mgclip.home import in_home
from mgclip.method.adapter_phase import adapter_phase, task_objective, train_adapters
from mgclip.method.learner import MGCLIP
from mgclip.method.task import make_task
from mgclip.method.training import OnStep, Step
from mgclip.stream.data import Dataset, Split
from mgclip.stream.datasets import DATASETS, load_dataset
from mgclip.stream.folder import find_parts, find_test_folder, load_folder
from mgclip.stream.tasks import unique_names

Loss = Literal["cross-entropy", "align"]

QUANTITIES = {
    "positive": "similarity of images and their own texts",
    "negative": "similarity of images and other texts",
    "centroid_distance": "distance of the mean image and the mean text",
    "image_cone": "mean cosine of two images (the cone)",
    "text_cone": "mean cosine of two class texts",
    "separability": "accuracy of a linear classifier of images against texts",
    "accuracy": "zero-shot accuracy",
}
"""The quantities of a geometry, in order -> what they are called in tables and figures."""
LOGITS = ("positive", "negative")
"""Quantities that the method sees as logits: cosines times the logit scale."""


@dataclass(frozen=True)
class Sample:
    """Some classes of a data set, with a few test images of each, and the images to fine-tune on."""

    names: tuple[str, ...]
    texts: tuple[str, ...]
    test: Split
    train: Split


@dataclass(frozen=True)
class StudyTrace:
    """The geometry before the first step (step 0) and after each measured one, while fine-tuning with a loss."""

    loss: str
    steps: tuple[int, ...]
    points: tuple[Geometry, ...]
    steps_per_epoch: int


class StudyTraceRecord(TypedDict):
    """A trace in ``gap.json``; each point is a geometry, with null for what was not measured."""

    loss: str
    steps: list[int]
    steps_per_epoch: int
    points: list[dict[str, float | None]]


class StudyRecord(TypedDict):
    """The numbers of a study in ``gap.json``."""

    gap: dict[str, float | None]
    traces: list[StudyTraceRecord]


def load_sample(data: str, path: str | None, *, classes: int, per_class: int, train: bool) -> Sample:
    """Load the first classes of a data set.

    Args:
        data: The name of a data set, or a folder of class folders.
        path: The path of a named data set; None for its default.
        classes: Number of classes; 0 for all.
        per_class: Test images of each class.
        train: Whether training images are needed too.

    Raises:
        InputError: If the data cannot be loaded, has a single class, or has a class without images.
    """
    dataset = _load(data, path, per_class=per_class, train=train)
    count = min(classes or len(dataset.class_names), len(dataset.class_names))
    if count < 2:
        raise InputError(f"The gap needs at least 2 classes; {dataset.name} gives {count}: raise --classes or give other data.")
    test_split, train_split = _first(dataset.test, count, per_class), _first(dataset.train, count, None)
    for split in (test_split, train_split) if train else (test_split,):
        if empty := [dataset.class_names[c] for c in range(count) if c not in split.labels]:
            raise InputError(f"The class {empty[0]!r} of {dataset.name} has no image: add one, or leave it out.")
    names = dataset.class_names[:count]
    return Sample(tuple(unique_names(names)), names, test_split, train_split)


def _load(data: str, path: str | None, *, per_class: int, train: bool) -> Dataset:
    if data in DATASETS:
        return load_dataset(data, path=path, test_per_class=per_class, test_only=not train)
    if path is not None:
        raise InputError(f"--path applies to named data sets only, and {data} is not one: leave --path {path} out.")
    root = Path(in_home(data))
    if not root.is_dir():
        raise InputError(
            f"There is no data set or folder {data}: give a data set ({', '.join(DATASETS)}) or a folder of class folders."
        )
    parts = find_parts(root)
    if parts.train is not None and parts.test is not None:
        return load_folder(root)
    found = find_test_folder(root).dataset
    return replace(found, train=found.test)


def _first(split: Split, classes: int, per_class: int | None) -> Split:
    """The images of the first classes, at most ``per_class`` of each, in the order of the data."""
    chosen: list[NDArray[np.int64]] = [np.flatnonzero(split.labels == label)[:per_class] for label in range(classes)]
    indices = np.sort(np.concatenate(chosen)) if len(split.labels) else np.empty(0, dtype=np.int64)
    return split.take(indices)


class Study:
    """Measures a model on a sample, whose images are prepared once."""

    def __init__(self, model: MGCLIP, sample: Sample) -> None:
        self.model, self.sample = model, sample
        self.pixels = model.encoder.pixels(sample.test.images)
        self.labels = torch.from_numpy(sample.test.labels).to(model.backbone.device)

    def features(self) -> tuple[Tensor, Tensor]:
        """Image features ``(n, d)`` and text features ``(c, d)`` with the current adapters."""
        encoder = self.model.encoder
        return encoder.in_text_space(encoder.images(self.pixels)), encoder.texts(self.sample.texts)

    def measure(self) -> Geometry:
        """The geometry of the sample with the current adapters."""
        images, texts = self.features()
        return geometry(images, self.labels, texts, logit_scale=self.model.backbone.logit_scale.item())

    def projection(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Image and text features projected onto a plane, ``(n, 2)`` and ``(c, 2)``."""
        return project(*self.features())

    def track(self, loss: Loss, *, epochs: int, points: int, on_step: OnStep = lambda step: None) -> StudyTrace:
        """Fine-tune the adapters with a loss and measure the geometry about ``points`` times meanwhile. The adapters are
        restored at the end.
        """
        model, sample = self.model, self.sample
        settings = model.settings.model_copy(update={"adapter_loss": loss})
        task = make_task(
            model.encoder.pixels(sample.train.images),
            sample.train.named(sample.names),
            sample.names,
            index=0,
            known=(),
            class_texts=sample.texts,
        )
        before = adapter_state(model.backbone)
        per_epoch = -(-len(task.labels) // settings.adapter_batch_size)
        every = max(1, epochs * per_epoch // points)
        steps, measured = [0], [self.measure()]

        def measure_some(step: Step) -> None:
            on_step(step)
            done = (step.epoch - 1) * step.steps + step.step
            if done % every == 0 or done == step.epochs * step.steps:
                steps.append(done)
                measured.append(self.measure())

        try:
            objective = task_objective(model.backbone, task, settings)
            train_adapters(model.backbone, objective, adapter_phase(settings, 0, epochs), on_step=measure_some)
        finally:
            set_adapter_state(model.backbone, before)
        return StudyTrace(loss, tuple(steps), tuple(measured), per_epoch)


def study_record(initial: Geometry, traces: Sequence[StudyTrace]) -> StudyRecord:
    """All numbers of a study; null for what was not measured."""
    return {
        "gap": _numbers(initial),
        "traces": [
            {
                "loss": trace.loss,
                "steps": list(trace.steps),
                "steps_per_epoch": trace.steps_per_epoch,
                "points": [_numbers(point) for point in trace.points],
            }
            for trace in traces
        ],
    }


def _numbers(point: Geometry) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in asdict(point).items()}
