"""Run a recipe: for each method, for each task: learn, evaluate, record, save."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mgclip.clip import parallel
from mgclip.clip.pixels import KEEP_BYTES, MemoryBudget, PreparedImages
from mgclip.disk import write_json
from mgclip.errors import AlikeTexts, InputError
from mgclip.experiment import raw_results, run_folder
from mgclip.experiment.branch_answers import BranchAnswers
from mgclip.experiment.final_evaluation import write_final
from mgclip.experiment.loggers import Log
from mgclip.experiment.measured_images import MeasuredImages, prepare_test_images
from mgclip.experiment.open_run import OpenRun, only_run
from mgclip.experiment.read_images import ReadImages
from mgclip.experiment.retention import retention, zero_shot_accuracy
from mgclip.experiment.schemas import Record, Seconds, Summary, read_run_file
from mgclip.experiment.task_record import evaluate, shots, trained
from mgclip.method.baselines.make import Learner
from mgclip.method.methods import METHODS, leaves_clip_unchanged
from mgclip.method.training import OnStep, Step
from mgclip.names import canonical
from mgclip.saving.checkpoints import FILES, TaskCheckpoints
from mgclip.stream.tasks import Task, join_tasks, trained_classes

MODEL = "model"
"""Name of the folder with the model of a method after its last finished task."""

OnTask = Callable[[str, int, int, Record], None]
"""Called after each task with the method, the number of tasks done, the number of all tasks, and the record."""


@dataclass(frozen=True)
class _Images:
    """The test images of each task, its training images if methods share them, and what is known of images that were read."""

    tests: Sequence[MeasuredImages]
    read: ReadImages
    train: Sequence[PreparedImages] = ()


@dataclass(frozen=True)
class _Callbacks:
    """What is called during a run, and the number of steps between checkpoints."""

    on_step: OnStep
    on_task: OnTask
    checkpoint_every: int
    stop: Callable[[], bool]


def run(
    opened: OpenRun,
    *,
    on_step: OnStep = lambda step: None,
    on_task: OnTask = lambda method, done, tasks, record: None,
    checkpoint_every: int = 100,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Summary]:
    """Run every method of a recipe that has not finished, each in ``folder/METHOD``.

    Args:
        opened: The run.
        on_step: Called after each optimizer step.
        on_task: Called after each task.
        checkpoint_every: Steps between checkpoints within a task.
        stop: Called after each step; returns whether to stop.

    Returns:
        The summary of each method.

    Raises:
        InputError: If another command runs in the folder.
        Stopped: If ``stop`` returned True. Everything up to that step is saved.
    """
    sets = {name: part.data for name, part in opened.retention_sets.items()}
    with only_run(opened.folder), warnings.catch_warnings(), closing(ReadImages(opened.folder, opened.stream, sets)) as read:
        warnings.simplefilter("ignore", AlikeTexts)  # ``open_run`` has warned, once, of what the user can change
        return _run_methods(opened, read, _Callbacks(on_step, on_task, checkpoint_every, stop))


def has_progress(opened: OpenRun) -> bool:
    """Whether a method of a run has saved the model after a task, or a checkpoint within one, from which the run resumes."""
    folders = [opened.folder / method for method in opened.recipe.methods]
    return any((folder / name).exists() for folder in folders for name in (MODEL, *FILES))


def _run_methods(opened: OpenRun, read: ReadImages, callbacks: _Callbacks) -> dict[str, Summary]:
    """Run every method that has not finished; returns the summaries of all."""
    images = _Images(_test_images(opened, opened.stream, KEEP_BYTES, read), read, _shared_training_images(opened, read))
    finished = {method: read_run_file(Summary, opened.folder / method / run_folder.SUMMARY) for method in opened.recipe.methods}
    untuned, summaries = {}, {}
    if not all(finished.values()):
        zero_shot = opened.learner("zero-shot")
        for name, part in opened.retention_sets.items():
            read.watch(f"retention {name}", part.images.pixels)
        untuned = {name: zero_shot_accuracy(zero_shot, part) for name, part in opened.retention_sets.items()}
    for method in opened.recipe.methods:
        summaries[method] = finished[method] or _run_method(opened, method, images, untuned, callbacks)
    if parallel.is_main():
        write_json(opened.folder / run_folder.SUMMARY, summaries)
    return summaries


def _run_method(opened: OpenRun, method: str, images: _Images, untuned: Mapping[str, float], callbacks: _Callbacks) -> Summary:
    """Run one method from its first unfinished task; ``untuned`` is the zero-shot accuracy of the CLIP on each retention set."""
    folder, stream = opened.folder / method, opened.stream
    if METHODS[method].joint:
        stream = [join_tasks(stream)]
        images = _Images(_test_images(opened, stream, 0, images.read), images.read)  # they are used only once
    elif not leaves_clip_unchanged(method, opened.recipe.settings()):
        images = _Images(images.tests, images.read)  # training takes the memory for transformed images for one task at a time
    learner, done = _resume(opened, method, folder)
    checkpoints = TaskCheckpoints(folder, callbacks.checkpoint_every, callbacks.stop)
    parallel.wait()  # until every process has read what one of them is about to write
    if parallel.is_main():
        run_folder.write_records(folder, done)  # drop records newer than the checkpoint
        raw_results.drop_from(folder, len(done))
    log = _log(opened, method, len(done))

    def on_step(step: Step) -> None:
        log.step(step, raw_results.remember_step(checkpoints, step))
        callbacks.on_step(step)

    answers = None
    for task in stream[len(done) :]:
        labels, classes = trained_classes(stream, task)
        names, texts = list(classes), list(classes.values())
        started = time.monotonic()
        train = _training_images(opened, images, task)
        learned = learner.learn(train, labels, names, class_texts=texts, on_step=on_step, checkpoints=checkpoints)
        learned_at = time.monotonic()
        measured, answers = evaluate(learner, stream, task, images.tests, task_known=opened.recipe.task_known)
        seconds: Seconds = {"learn": learned_at - started, "evaluate": time.monotonic() - learned_at}
        record: Record = {"method": method, **measured, **trained(learned), "seconds": seconds}
        _add_optional(record, opened, method, stream, task, answers)
        if parallel.is_main():
            run_folder.check_still_there(opened.folder)
            steps = raw_results.steps_of(checkpoints)
            raw_results.write_task(folder, stream, record, answers, steps)
            run_folder.append_record(folder, record)
            log.task(record, len(steps))
        learner.save_pretrained(folder / MODEL)
        parallel.wait()  # until the model is on disk
        checkpoints.discard()
        done.append(record)
        callbacks.on_task(method, len(done), len(stream), record)
    if answers is None:  # the run was stopped after its last task
        checkpoints.discard()  # perhaps before its checkpoint was removed
        _, answers = evaluate(learner, stream, stream[-1], images.tests, task_known=opened.recipe.task_known)
    if parallel.is_main():
        write_final(folder, stream, answers)
    summary = run_folder.summarise(done)
    if opened.retention_sets:
        summary["retention"] = retention(learner, opened.retention_sets, untuned)
    if parallel.is_main():
        write_json(folder / run_folder.SUMMARY, summary)
    log.end()
    return summary


def _add_optional(
    record: Record, opened: OpenRun, method: str, stream: Sequence[Task], task: Task, answers: BranchAnswers
) -> None:
    """Add to the record of a task what only some runs have."""
    if opened.backbone.choice is not None:
        record["precision"] = opened.backbone.choice.precision
    if opened.recipe.imbalance > 1:
        record["shots"] = shots(stream, task, answers)
    if opened.recipe.blurry > 0 and len(stream) > 1:
        record.setdefault("returning_images", 0)  # by chance a short stream may have none
    if opened.recipe.on_bad_image == "skip":
        record["skipped"] = opened.skipped_in(method, task)


def _test_images(opened: OpenRun, stream: Sequence[Task], keep_bytes: int, read: ReadImages) -> list[MeasuredImages]:
    """The test images of each task, at most ``keep_bytes`` of them in memory."""
    tests = prepare_test_images(opened.backbone, stream, keep_bytes)
    for each in tests:
        read.watch("test", each.pixels)
    return tests


def _training_images(opened: OpenRun, images: _Images, task: Task) -> PreparedImages:
    """The training images of a task."""
    if images.train:
        return images.train[task.index]
    return images.read.watch("train", PreparedImages(task.train.images, opened.backbone.transform))


def _shared_training_images(opened: OpenRun, read: ReadImages) -> list[PreparedImages]:
    """The training images of each task, for all methods that leave the CLIP unchanged, so that each image is identified once.

    Without kept features there are none.
    """
    if opened.kept is None:
        return []
    room = MemoryBudget(KEEP_BYTES)
    prepared = [PreparedImages(task.train.images, opened.backbone.transform, room) for task in opened.stream]
    return [read.watch("train", pixels) for pixels in prepared]


def _log(opened: OpenRun, method: str, tasks: int) -> Log:
    """The log of a method after its finished tasks."""
    parts = [raw_results.read_task(opened.folder / method, "steps", task) for task in range(tasks) if opened.recipe.log_with]
    return Log(opened.recipe, opened.folder, method, [0 if part is None else len(part) for part in parts])


def _resume(opened: OpenRun, method: str, folder: Path) -> tuple[Learner, list[Record]]:
    """The learner and the records after the last finished task, or new ones."""
    learner = opened.learner(method, folder / MODEL)
    names = [name for task in opened.stream for name in task.names]
    if list(map(canonical, learner.class_names)) != list(map(canonical, names[: len(learner.class_names)])):
        raise InputError(
            f"The classes of the data have changed since {folder} was started: restore the data, or start a new run."
        )
    return learner, run_folder.kept_records(folder, len(learner.task_sizes))
