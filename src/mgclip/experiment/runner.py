"""Run a recipe: for each method, for each task: learn, evaluate, record, checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mgclip.clip.backbone import Backbone
from mgclip.clip.load import load_backbone
from mgclip.clip.pixels import Pixels
from mgclip.errors import InputError
from mgclip.experiment import records
from mgclip.experiment.recipe import Recipe
from mgclip.method.baselines import method_settings
from mgclip.method.learner import MGCLIP, Learned
from mgclip.method.saved import is_saved
from mgclip.method.training import OnStep
from mgclip.stream.datasets import load_dataset
from mgclip.stream.orders import class_order
from mgclip.stream.tasks import Task, make_tasks, task_sizes

MODEL = "model"
"""Folder of a method's checkpoint: the model as it was after the last finished task."""

OnTask = Callable[[str, int, int, dict[str, Any]], None]
"""Told after each task: method, tasks done, tasks in all, the task's record."""


def build_stream(recipe: Recipe) -> list[Task]:
    """The tasks of a recipe."""
    dataset = load_dataset(
        recipe.data, path=recipe.data_path,
        train_per_class=recipe.train_per_class, test_per_class=recipe.test_per_class,
    )  # fmt: skip
    classes = len(dataset.class_names)
    order = class_order(recipe.class_order, dataset=dataset.name, classes=classes, seed=recipe.seed)
    sizes = task_sizes(classes, initial=recipe.initial_classes, increment=recipe.classes_per_task)
    return make_tasks(dataset, order, sizes[: recipe.tasks])


@dataclass(frozen=True)
class OpenRun:
    """A run about to start or to go on: all that could be refused has been."""

    recipe: Recipe
    folder: Path
    stream: Sequence[Task]
    backbone: Backbone


def open_run(recipe: Recipe, folder: Path, *, resume: bool = False) -> OpenRun:
    """Load data and CLIP, then make the run's folder, or see that the one to go on with belongs to the recipe.

    Raises ``InputError`` for data or a CLIP that cannot be had, a folder already used, or a run of another recipe; then
    nothing was written.
    """
    if resume:
        _check_same(records.read_recipe(folder), recipe, folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is already used: go on with it by --resume {folder}, or give another --out.")
    opened = OpenRun(recipe, folder, build_stream(recipe), load_backbone(recipe.clip))
    MGCLIP(opened.backbone, recipe.settings())  # what is wrong with the adapter settings shows here
    if not resume:
        folder.mkdir(parents=True, exist_ok=True)
        records.write_recipe(folder, recipe)
    return opened


def _check_same(begun: Recipe, recipe: Recipe, folder: Path) -> None:
    for key in Recipe.model_fields:
        if getattr(begun, key) != getattr(recipe, key):
            raise InputError(
                f"{folder} was started with {key} = {getattr(begun, key)!r}, not {getattr(recipe, key)!r}: "
                "go on with the same settings, or start a new run."
            )


def run(
    opened: OpenRun,
    *,
    on_step: OnStep = lambda step: None,
    on_task: OnTask = lambda method, done, tasks, record: None,
) -> dict[str, dict[str, Any]]:
    """Run every method of a recipe into ``folder/METHOD`` and return their summaries."""
    tests: dict[int, Pixels] = {}
    summaries = {method: _run_method(opened, method, tests, on_step, on_task) for method in opened.recipe.methods}
    records.write_json(opened.folder / records.SUMMARY, summaries)
    return summaries


def _run_method(
    opened: OpenRun, method: str, tests: dict[int, Pixels], on_step: OnStep, on_task: OnTask
) -> dict[str, Any]:
    folder, stream = opened.folder / method, opened.stream
    folder.mkdir(exist_ok=True)
    learner, done = _start(opened, method, folder)
    for task in stream[len(done) :]:
        begun = time.monotonic()
        learned = learner.learn(task.train.images, task.train.labels, task.names, on_step=on_step)
        middle = time.monotonic()
        record = evaluate(learner, stream, task, tests)
        seconds = {"learn": middle - begun, "evaluate": time.monotonic() - middle}
        record = {"method": method, **record, **_probe_record(learned), "seconds": seconds}
        records.append_record(folder, record)
        learner.save_pretrained(folder / MODEL)
        done.append(record)
        on_task(method, len(done), len(stream), record)
    summary = records.summarise(done)
    records.write_json(folder / records.SUMMARY, summary)
    return summary


def _start(opened: OpenRun, method: str, folder: Path) -> tuple[MGCLIP, list[dict[str, Any]]]:
    """The learner and the records to go on from: fresh ones, or those of the last finished task."""
    if is_saved(folder / MODEL):
        learner = MGCLIP.from_pretrained(folder / MODEL, base=opened.backbone)
        names = [name for task in opened.stream for name in task.names]
        if learner.class_names != tuple(names[: len(learner.class_names)]):
            raise InputError(
                f"The data has changed since {folder} was begun: its classes are others now. Start a new run."
            )
        return learner, records.keep_records(folder, len(learner.task_sizes))
    records.keep_records(folder, 0)
    return MGCLIP(opened.backbone, method_settings(method, opened.recipe.settings())), []


def evaluate(learner: MGCLIP, stream: Sequence[Task], task: Task, tests: dict[int, Pixels]) -> dict[str, Any]:
    """The record of one finished task: accuracy on every task so far, and zero-shot on the next one (docs/method.md 9).

    ``tests`` keeps the transformed test images between calls, by task.
    """

    def features(which: Task) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = tests.setdefault(which.index, learner.pixels(which.test.images))
        encoded = learner.encode(pixels)
        return encoded, torch.from_numpy(which.test.labels).to(encoded.device) + which.first

    accuracies, right, images = [], 0, 0
    for earlier in stream[: task.index + 1]:
        encoded, labels = features(earlier)
        hits = int((learner.probabilities(encoded).argmax(1) == labels).sum())
        accuracies.append(hits / len(labels) if len(labels) else 0.0)
        right, images = right + hits, images + len(labels)
    ahead = None
    if task.index + 1 < len(stream):
        encoded, labels = features(stream[task.index + 1])
        names = [name for each in stream for name in each.names]
        ahead = float((learner.text_logits(encoded, names).argmax(1) == labels).float().mean())
    return {
        "task": task.index,
        "classes": list(task.names),
        "classes_seen": len(learner.class_names),
        "train_images": len(task.train.labels),
        "test_images": len(task.test.labels),
        "accuracy": right / images,
        "accuracy_per_task": accuracies,
        "next_task_text_accuracy": ahead,
    }


def _probe_record(learned: Learned) -> dict[str, Any]:
    """The part of a record that says how long was trained and what the probe saw."""
    if learned.probe is None:
        return {"epochs": learned.epochs}
    gaps = [learned.probe.origin, *learned.probe.after_epoch]
    probe = {"positive": [gap.positive for gap in gaps], "negative": [gap.negative for gap in gaps]}
    return {"epochs": learned.epochs, "probe": {**probe, "epochs": learned.probe.epochs}}
