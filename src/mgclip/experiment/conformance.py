"""Replay a recorded run of the published code through the ordinary learner, and say how far the two are apart.

A recording is a folder: ``clip-mini/`` (a CLIP), ``photos.npz`` (images, labels, class names), ``adapter_init.safetensors``,
``trace.json`` (settings; per task every loss, the gap of the un-tuned model, predictions), ``final.safetensors`` (adapter and
head at the end) and, if a probe was recorded, ``probe.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from mgclip.clip.adapters import adapter_state
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError
from mgclip.method.gap import Gap, measure_gap
from mgclip.method.learner import MGCLIP
from mgclip.method.settings import Settings
from mgclip.method.training import Step
from mgclip.stream.data import Dataset, Split
from mgclip.stream.tasks import Task, make_tasks, task_sizes

LIMITS = {"adapter_loss": 1e-5, "head_loss": 1e-6, "final_adapter": 1e-4, "gap": 1e-3}
"""The largest deviation of each kind that still counts as the same run."""


@dataclass
class Deviations:
    """Largest absolute deviation of each kind so far, and the count of compared predictions."""

    largest: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LIMITS, 0.0))
    equal: int = 0
    compared: int = 0

    def add(self, kind: str, found: ArrayLike, recorded: ArrayLike) -> None:
        """Compare two lists of numbers; lists of different length or shape deviate without bound."""
        ours, theirs = np.asarray(found, dtype=np.float64), np.asarray(recorded, dtype=np.float64)
        away = float(np.abs(ours - theirs).max(initial=0.0)) if ours.shape == theirs.shape else float("inf")
        self.largest[kind] = max(self.largest[kind], away if away == away else float("inf"))


def conform(folder: Path) -> dict[str, Any]:
    """Replay the recording in ``folder``. Returns the largest deviations, the share of equal predictions, the probe's
    answer, and whether all is within ``LIMITS``.

    Raises ``InputError`` where the folder is not such a recording.
    """
    trace = _read_json(folder / "trace.json")
    try:
        stream, dataset, order = _stream(folder, trace["config"])
        settings = _settings(trace["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder} is not a recording: {type(error).__name__} {error} in trace.json or photos.npz."
        ) from None
    settings = settings.model_copy(update={"adapter_init": str(folder / "adapter_init.safetensors")})
    deviations = Deviations()
    _replay(folder, trace, settings, stream, dataset, order, deviations)
    result: dict[str, Any] = {**deviations.largest}
    result["predictions_equal"] = deviations.equal / max(1, deviations.compared)
    agreed = True
    if (folder / "probe.json").is_file():
        recorded = _read_json(folder / "probe.json")
        result["epochs"] = _replay_probe(folder, recorded, settings, stream[0], deviations)
        result.update(deviations.largest)
        agreed = result["epochs"] == recorded["chosen_epochs"]
    within = all(result[kind] <= limit for kind, limit in LIMITS.items())
    result["ok"] = within and agreed and result["predictions_equal"] == 1.0
    return result


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"A recording needs {file}, and it cannot be read ({error}).") from None


def _stream(folder: Path, config: dict[str, Any]) -> tuple[list[Task], Dataset, list[int]]:
    try:
        with np.load(folder / "photos.npz", allow_pickle=False) as photos:
            train = Split(photos["x_train"], photos["y_train"].astype(np.int64))
            test = Split(photos["x_test"], photos["y_test"].astype(np.int64))
            names = tuple(str(name) for name in photos["class_names"])
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"A recording needs {folder / 'photos.npz'}, and it cannot be read ({error}).") from None
    dataset, order = Dataset(folder.name, names, train, test), list(config["class_order"])
    sizes = task_sizes(len(order), initial=config["initial_classes"], increment=config["classes_per_task"])
    return make_tasks(dataset, order, sizes), dataset, order


def _settings(config: dict[str, Any]) -> Settings:
    return Settings(
        prompt=config["prompt"],
        rank=config["adapter_rank"],
        lora_alpha=config["adapter_alpha"],
        epochs=config["epochs"],
        adapter_lr=config["adapter_lr"],
        adapter_batch_size=config["adapter_batch_size"],
        head_lr=config["head_lr"],
        head_epochs=config["head_epochs"],
        head_batch_size=config["head_batch_size"],
        encode_batch_size=config["eval_batch_size"],
        vision_weight=config["vision_weight"],
        shuffle=config["shuffle"],
        seed=config.get("seed", 0),
    )


def _replay(
    folder: Path, trace: dict[str, Any], settings: Settings, stream: list[Task], dataset: Dataset, order: list[int],
    deviations: Deviations,
) -> None:  # fmt: skip
    from safetensors.torch import load_file

    learner = MGCLIP(load_backbone(folder / "clip-mini"), settings)
    untuned = MGCLIP(load_backbone(folder / "clip-mini"), settings)
    for task, recorded in zip(stream, trace["tasks"], strict=True):
        seen_names = [name for each in stream[: task.index + 1] for name in each.names]
        labels = torch.from_numpy(task.train.labels) + task.first
        gap = measure_gap(
            untuned.backbone, untuned.pixels(task.train.images), labels, untuned.text_features(seen_names),
            batch_size=settings.adapter_batch_size, average=settings.gap_average,
        )  # fmt: skip
        recorded_gap = [recorded["zero_shot_positive_logit"], recorded["zero_shot_negative_logit"]]
        deviations.add("gap", [gap.positive, gap.negative], recorded_gap)
        losses: dict[str, list[float]] = {"adapter": [], "head": []}

        def note(step: Step, losses: dict[str, list[float]] = losses) -> None:
            losses[step.phase].append(step.loss)

        learner.learn(task.train.images, task.train.labels, task.names, on_step=note)
        deviations.add("adapter_loss", losses["adapter"], recorded["adapter_losses"])
        deviations.add("head_loss", losses["head"], recorded["head_losses"])
        classes = order[: len(seen_names)]
        chosen = np.flatnonzero(np.isin(dataset.test.labels, classes))
        predicted = learner.predict([dataset.test.images[int(i)] for i in chosen]).labels
        expected = np.asarray(recorded["predictions"])
        deviations.compared += max(len(expected), len(predicted))
        if len(predicted) == len(expected):
            deviations.equal += int((predicted == expected).sum())
    final = load_file(folder / "final.safetensors")
    found = {**adapter_state(learner.backbone), "head.weight": learner.head}
    for name in sorted(final.keys() | found.keys()):
        ours, theirs = found.get(name, torch.empty(0)), final.get(name, torch.empty(0))
        deviations.add("final_adapter", ours.cpu().numpy(), theirs.cpu().numpy())


def _replay_probe(
    folder: Path, recorded: dict[str, Any], settings: Settings, task: Task, deviations: Deviations
) -> int:
    """Run the recorded probe on the first task; returns the epochs it allows."""
    config = recorded["config"]
    same = {key: config[key] for key in ("max_epochs", "alpha", "adapter_batch_size", "adapter_lr")}
    learner = MGCLIP(load_backbone(folder / "clip-mini"), settings.model_copy(update={**same, "epochs": "auto"}))
    losses: list[float] = []

    def note(step: Step) -> None:
        if step.phase == "probe":
            losses.append(step.loss)

    learned = learner.learn(task.train.images, task.train.labels, task.names, on_step=note)
    if learned.probe is None:
        raise InputError(f"{folder / 'probe.json'} records a probe, but the first task has a single class.")

    def values(gap: Gap) -> list[float]:
        return [gap.positive, gap.negative]

    deviations.add("adapter_loss", losses, recorded["losses"])
    deviations.add("gap", values(learned.probe.origin), [recorded["zero_shot"][k] for k in ("positive", "negative")])
    theirs = [[epoch["positive"], epoch["negative"]] for epoch in recorded["epochs"]]
    deviations.add("gap", [values(gap) for gap in learned.probe.after_epoch], theirs)
    return learned.epochs
