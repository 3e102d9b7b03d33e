"""Run a recipe: for each method, for each task: learn, evaluate, record, checkpoint."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mgclip.clip import parallel
from mgclip.clip.backbone import Backbone
from mgclip.clip.load import load_backbone
from mgclip.clip.pixels import KEEP_BYTES, MemoryBudget, PreparedImages
from mgclip.disk import write_json
from mgclip.errors import InputError
from mgclip.experiment import run_folder
from mgclip.experiment.final_evaluation import write_final
from mgclip.experiment.recipe import Recipe
from mgclip.experiment.retention import HeldOut, load_held_out, retention, zero_shot_accuracy
from mgclip.experiment.schemas import Measured, ProbeRecord, Record, Seconds, Summary, Trained
from mgclip.method.baselines.make import Learner, make_learner
from mgclip.method.baselines.table import METHODS, method_settings
from mgclip.method.gap import similarities
from mgclip.method.preservation import LearnResult
from mgclip.method.replay import check_room
from mgclip.method.training import OnStep
from mgclip.saving.checkpoints import TaskCheckpoints
from mgclip.saving.store import check_writable
from mgclip.stream.data import Split
from mgclip.stream.datasets import load_dataset
from mgclip.stream.fingerprint import fingerprint
from mgclip.stream.orders import class_order
from mgclip.stream.tasks import Task, join_tasks, make_tasks, task_sizes
from mgclip.stream.unreadable import (
    NO_TASK,
    Part,
    Skipped,
    drop_positions,
    find_unreadable,
    stream_parts,
    without_skipped,
)

MODEL = "model"
"""Folder of a method's checkpoint: the model as it was after the last finished task."""

Answers = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Label and probability of each test image's answer, ``(n,)`` and ``(n,)``, task after task."""

OnTask = Callable[[str, int, int, Record], None]
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
    held_out: Mapping[str, HeldOut]
    skipped: Sequence[Skipped] = ()
    """Images that cannot be read, which ``stream`` is without."""

    def learner(self, method: str, saved: Path | None = None) -> Learner:
        """A learner of a method of this run, fresh or going on with what is saved."""
        return make_learner(method, self.backbone, self.recipe.settings(), self.recipe.peers(), saved)


def open_run(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> OpenRun:
    """Load data and CLIP, then make the run's folder, or see that the one to go on with belongs to the recipe.
    ``on_images`` is told how many images were looked at, of how many, where the recipe leaves out those that cannot be read.

    Raises ``InputError`` for data or a CLIP that cannot be had, a folder already used, or a run of another recipe; then
    nothing was written.
    """
    if resume:
        run_folder.check_same(folder, recipe, "go on with the same settings, or start a new run")
        run_folder.check_own(folder, recipe.methods)
    elif not run_folder.is_unused(folder):
        again = (
            f"go on with it by --resume {shlex.quote(str(folder))}, or "
            if (folder / run_folder.RECIPE).is_file()
            else ""
        )
        raise InputError(f"{folder} is already used: {again}give another --out.")
    else:
        check_writable(folder)
    stream = build_stream(recipe)
    mark = fingerprint(stream)
    if resume:
        run_folder.check_data(folder, mark)
    skip = recipe.on_bad_image == "skip"
    skipped = run_folder.read_skipped(folder) if resume and skip else []

    def look_through(parts: Sequence[Part]) -> None:
        """List what of these parts cannot be read; a run that goes on has its list."""
        if skip and not resume:  # each process tries a share, and all leave out the same images
            found = parallel.gather_items(find_unreadable(parts, on_images, share=parallel.rank_and_world_size()))
            order = {(task, part): number for number, (task, part, _) in enumerate(parts)}
            skipped.extend(sorted(found, key=lambda each: (order[each.task, each.part], each.position)))

    def readable(name: str, split: Split) -> Split:
        look_through([(NO_TASK, name, split)])
        return drop_positions(split, {each.position for each in skipped if (each.task, each.part) == (NO_TASK, name)})

    look_through(stream_parts(stream))
    stream = without_skipped(stream, skipped)
    for method in recipe.methods:
        if memory := method_settings(method, recipe.settings()).memory:
            check_room(memory, sum(len(task.names) for task in stream))
    opened = OpenRun(recipe, folder, stream, load_backbone(recipe.clip), {}, skipped)
    plain = opened.learner("mg-clip")  # what is wrong with the adapter settings shows here
    held_out = load_held_out(
        recipe.retention,
        plain.encoder,
        test_per_class=recipe.test_per_class,
        keep_bytes=max(0, KEEP_BYTES - _test_bytes(opened)),  # the stream's own are used more often
        readable=readable,
    )
    opened = replace(opened, held_out=held_out)
    parallel.wait()  # until every process has seen the folder as it was
    if not resume and parallel.is_main():
        run_folder.begin(folder, recipe, mark, skipped)
    parallel.wait()
    return opened


def run(
    opened: OpenRun,
    *,
    on_step: OnStep = lambda step: None,
    on_task: OnTask = lambda method, done, tasks, record: None,
    checkpoint_every: int = 100,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Summary]:
    """Run every method of a recipe into ``folder/METHOD`` and return their summaries.

    ``checkpoint_every``: steps between checkpoints inside a task; ``stop`` is asked after each step, and raises ``Stopped`` when
    everything up to it is on disk.
    """
    tests = test_pixels(opened.backbone, opened.stream, KEEP_BYTES)
    finished = {method: run_folder.read_summary(opened.folder / method) for method in opened.recipe.methods}
    untuned, summaries = {}, {}
    if not all(finished.values()):
        bare = opened.learner("zero-shot")
        untuned = {name: zero_shot_accuracy(bare, part) for name, part in opened.held_out.items()}
    for method in opened.recipe.methods:
        summaries[method] = finished[method] or _run_method(
            opened, method, tests, untuned, on_step, on_task, (checkpoint_every, stop)
        )
    if parallel.is_main():
        write_json(opened.folder / run_folder.SUMMARY, summaries)
    return summaries


def test_pixels(backbone: Backbone, stream: Sequence[Task], keep_bytes: int) -> list[PreparedImages]:
    """The test images of each task of a stream, prepared; ``keep_bytes`` of them are kept in all."""
    room = MemoryBudget(keep_bytes)
    return [PreparedImages(task.test.images, backbone.transform, room) for task in stream]


def _test_bytes(opened: OpenRun) -> int:
    return sum(len(task.test.labels) for task in opened.stream) * 3 * opened.backbone.image_size**2


def _run_method(
    opened: OpenRun,
    method: str,
    tests: Sequence[PreparedImages],
    untuned: Mapping[str, float],
    on_step: OnStep,
    on_task: OnTask,
    checkpoints: tuple[int, Callable[[], bool]],
) -> Summary:
    folder, stream = opened.folder / method, opened.stream
    if METHODS[method].joint:
        stream = [join_tasks(stream)]
        tests = test_pixels(opened.backbone, stream, 0)  # used once
    learner, done = _start(opened, method, folder)
    progress = TaskCheckpoints(folder, *checkpoints)
    parallel.wait()  # until every process has read what one of them is about to write
    if parallel.is_main():
        run_folder.write_records(folder, done)  # without those that no checkpoint vouches for
    last = None
    for task in stream[len(done) :]:
        begun = time.monotonic()
        learned = learner.learn(
            task.train.images,
            task.train.named(task.names),
            task.names,
            class_texts=task.texts,
            on_step=on_step,
            checkpoints=progress,
        )
        middle = time.monotonic()
        measured, last = evaluate(learner, stream, task, tests)
        seconds: Seconds = {"learn": middle - begun, "evaluate": time.monotonic() - middle}
        record: Record = {"method": method, **measured, **_trained(learned), "seconds": seconds}
        if opened.recipe.on_bad_image == "skip":
            own = [
                each
                for each in opened.skipped
                if each.task == task.index or (METHODS[method].joint and each.task != NO_TASK)
            ]
            record["skipped"] = [{"image": each.image, "reason": each.reason} for each in own]
        if parallel.is_main():
            run_folder.append_record(folder, record)
        learner.save_pretrained(folder / MODEL)
        progress.discard()
        done.append(record)
        on_task(method, len(done), len(stream), record)
    if last is None:  # stopped between the last task and here
        _, last = evaluate(learner, stream, stream[-1], tests)
    if parallel.is_main():
        write_final(folder, stream, *last)
    summary = run_folder.summarise(done)
    if opened.held_out:
        summary["retention"] = retention(learner, opened.held_out, untuned)
    if parallel.is_main():
        write_json(folder / run_folder.SUMMARY, summary)
    return summary


def _start(opened: OpenRun, method: str, folder: Path) -> tuple[Learner, list[Record]]:
    """The learner and the records to go on from: fresh ones, or those of the last finished task."""
    learner = opened.learner(method, folder / MODEL)
    names = [name for task in opened.stream for name in task.names]
    if learner.class_names != tuple(names[: len(learner.class_names)]):
        raise InputError(f"The data has changed since {folder} was begun: its classes are others now. Start a new run.")
    return learner, run_folder.kept_records(folder, len(learner.task_sizes))


@torch.no_grad()
def evaluate(
    learner: Learner, stream: Sequence[Task], task: Task, tests: Sequence[PreparedImages]
) -> tuple[Measured, Answers]:
    """The record of one finished task: accuracy on every task so far, the gap on their test images, and zero-shot accuracy on
    the next task (docs/method.md 3, 9); and the answers it was made of.

    ``tests``: the test images of each task, as ``test_pixels`` prepares them.
    """

    def features(which: Task) -> tuple[torch.Tensor, torch.Tensor]:
        encoded = learner.encoder.images(tests[which.index], shared=True)
        return encoded, torch.from_numpy(which.test.labels).to(encoded.device) + which.first

    for each in stream:  # task by task, whatever comes next: a batch of another size rounds differently
        learner.encoder.texts(each.texts)
    accuracies, right, images, gaps, answers = [], 0, 0, [], []
    for earlier in stream[: task.index + 1]:
        encoded, labels = features(earlier)
        sure, found = learner.probabilities(encoded).max(1)
        answers.append((found.cpu().numpy(), sure.cpu().numpy()))
        hits = int((found == labels).sum())
        accuracies.append(hits / len(labels) if len(labels) else 0.0)
        right, images = right + hits, images + len(labels)
        if len(learner.class_names) > 1:
            gaps.append(torch.stack(similarities(learner.text_logits(encoded, learner.class_texts), labels)))
    positive, negative = torch.cat(gaps, 1).mean(1).tolist() if gaps else (None, None)
    next_task = None
    if task.index + 1 < len(stream):
        encoded, labels = features(stream[task.index + 1])
        texts = [text for each in stream for text in each.texts]
        next_task = float((learner.text_logits(encoded, texts).argmax(1) == labels).float().mean())
    record: Measured = {
        "task": task.index,
        "classes": list(task.names),
        "classes_seen": len(learner.class_names),
        "train_images": len(task.train.labels),
        "test_images": len(task.test.labels),
        "accuracy": right / images,
        "accuracy_per_task": accuracies,
        "next_task_text_accuracy": next_task,
        "gap": {"positive": positive, "negative": negative},
    }
    found_in_all, sure_in_all = (np.concatenate(part) for part in zip(*answers, strict=True))
    return record, (found_in_all, sure_in_all)


def _trained(learned: LearnResult) -> Trained:
    """The part of a record that says how long was trained and what the probe saw."""
    if learned.probe is None:
        return {"epochs": learned.epochs}
    gaps = [learned.probe.initial, *learned.probe.after_epoch]
    positive, negative = [gap.positive for gap in gaps], [gap.negative for gap in gaps]
    probe: ProbeRecord = {"positive": positive, "negative": negative, "epochs": learned.probe.epochs}
    return {"epochs": learned.epochs, "probe": probe}
