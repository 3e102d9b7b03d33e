"""Replay a recorded run through the ordinary learner, and report how far the two are apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from mgclip.clip.adapters import adapter_state
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError
from mgclip.experiment.recording import ProbeTrace, Recording, read_recording
from mgclip.method.gap import Gap, measure_gap
from mgclip.method.learner import MGCLIP
from mgclip.method.preservation import LearnResult
from mgclip.method.training import Step
from mgclip.stream.tasks import Task

LIMITS = {"adapter_loss": 1e-5, "head_loss": 1e-6, "final_adapter": 1e-4, "gap": 1e-3}
"""The largest deviation of each kind that conforms."""


@dataclass
class Deviations:
    """The largest absolute deviation of each kind so far, and the numbers of equal and of compared predictions."""

    largest: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LIMITS, 0.0))
    equal: int = 0
    compared: int = 0

    def add(self, kind: str, found: ArrayLike, recorded: ArrayLike) -> None:
        """Compare two lists of numbers. The deviation is infinite if their shapes differ or one contains NaN."""
        ours, theirs = np.asarray(found, dtype=np.float64), np.asarray(recorded, dtype=np.float64)
        away = float(np.abs(ours - theirs).max(initial=0.0)) if ours.shape == theirs.shape else float("inf")
        self.largest[kind] = max(self.largest[kind], away if away == away else float("inf"))


def conform(folder: Path) -> dict[str, float]:
    """Replay a recording.

    Args:
        folder: The folder of the recording.

    Returns:
        The largest deviation of each kind in ``LIMITS``; ``predictions_equal``, the share of equal predictions; ``epochs``, the
        number that the probe allows, if one was recorded; and ``ok``, whether everything conforms.

    Raises:
        InputError: If the folder is not a recording.

    Example:
        >>> from mgclip.experiment.recording import EMBEDDED
        >>> conform(EMBEDDED)["ok"]
        True
    """
    recording, deviations = read_recording(folder), Deviations()
    _replay(recording, deviations)
    epochs = None if recording.probe is None else _replay_probe(recording, recording.probe, deviations)
    result = {**deviations.largest, "predictions_equal": deviations.equal / max(1, deviations.compared)}
    if epochs is not None:
        result["epochs"] = epochs
    within = all(result[kind] <= limit for kind, limit in LIMITS.items())
    same_epochs = recording.probe is None or epochs == recording.probe.chosen_epochs
    result["ok"] = within and same_epochs and result["predictions_equal"] == 1.0
    return result


def _replay(recording: Recording, deviations: Deviations) -> None:
    """Replay every task, and compare losses, gaps and predictions, then the adapter and the head at the end."""
    learner = MGCLIP(load_backbone(recording.clip), recording.settings)
    pretrained = MGCLIP(load_backbone(recording.clip), recording.settings)
    for task, recorded in zip(recording.stream, recording.trace.tasks, strict=True):
        names = [name for each in recording.stream[: task.index + 1] for name in each.names]
        gap = _gap(pretrained, task, names)
        recorded_gap = [recorded.zero_shot_positive_logit, recorded.zero_shot_negative_logit]
        deviations.add("gap", [gap.positive, gap.negative], recorded_gap)
        _, losses = _learn(learner, task)
        deviations.add("adapter_loss", losses["adapter"], recorded.adapter_losses)
        deviations.add("head_loss", losses["head"], recorded.head_losses)
        test = recording.dataset.test
        seen = np.flatnonzero(np.isin(test.labels, recording.trace.config.class_order[: len(names)]))
        predicted = learner.predict([test.images[int(i)] for i in seen]).labels
        expected = np.asarray(recorded.predictions)
        deviations.compared += max(len(expected), len(predicted))
        if len(predicted) == len(expected):
            deviations.equal += int((predicted == expected).sum())
    found = {**adapter_state(learner.backbone), "head.weight": learner.head}
    for name in sorted(recording.final.keys() | found.keys()):
        ours, theirs = found.get(name, torch.empty(0)), recording.final.get(name, torch.empty(0))
        deviations.add("final_adapter", ours.cpu().numpy(), theirs.cpu().numpy())


def _learn(learner: MGCLIP, task: Task) -> tuple[LearnResult, dict[str, list[float]]]:
    """Learn a task. Also returns the losses of each phase."""
    losses: dict[str, list[float]] = defaultdict(list)

    def note(step: Step) -> None:
        losses[step.phase].append(step.loss)

    return learner.learn(task.train.images, task.train.named(task.names), task.names, on_step=note), losses


def _gap(model: MGCLIP, task: Task, names: Sequence[str]) -> Gap:
    """The gap of the pre-trained model on a task's training images, among the classes seen so far."""
    return measure_gap(
        model.encoder.images(model.encoder.pixels(task.train.images)),
        torch.from_numpy(task.train.labels) + task.first,
        model.encoder.texts(names),
        logit_scale=model.backbone.logit_scale,
        batch_size=model.settings.adapter_batch_size,
        average=model.settings.gap_average,
    )


def _replay_probe(recording: Recording, recorded: ProbeTrace, deviations: Deviations) -> int:
    """Replay the probe on the first task. Returns the epochs that it allows."""
    settings = recording.settings.model_copy(update={**recorded.config.model_dump(), "epochs": "auto"})
    learned, losses = _learn(MGCLIP(load_backbone(recording.clip), settings), recording.stream[0])
    if learned.probe is None:
        raise InputError(f"{recording.folder / 'probe.json'} records a probe, but the first task has a single class.")
    deviations.add("adapter_loss", losses["probe"], recorded.losses)
    ours = [[gap.positive, gap.negative] for gap in (learned.probe.initial, *learned.probe.after_epoch)]
    theirs = [[gap.positive, gap.negative] for gap in (recorded.zero_shot, *recorded.epochs)]
    deviations.add("gap", ours, theirs)
    return learned.epochs
