"""Preservation: train the adapters only as long as the modality gap stays near its initial value (docs/method.md 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from mgclip.clip import parallel
from mgclip.clip.adapters import adapter_state, set_adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder
from mgclip.clip.family import family_of
from mgclip.clip.representation import Representation
from mgclip.method.adapter_phase import adapter_phase, task_objective, train_adapters
from mgclip.method.analytic.decision import Decision
from mgclip.method.gap import Gap, measure_gap
from mgclip.method.gap_rule import LEAST_SIMILARITY, epochs_within
from mgclip.method.objective import Objective
from mgclip.method.settings import Settings
from mgclip.method.task import TaskData
from mgclip.method.training import OnStep
from mgclip.saving.checkpoints import TaskCheckpoints


@dataclass(frozen=True)
class Probe:
    """What the probe measured.

    Attributes:
        initial: The gap of the un-tuned model.
        after_epoch: The gap after each epoch trained.
        epochs: The number of epochs that the gap allows.
        completed: True if no epoch crossed the limit. The adapter phase would leave the adapters in the same state,
            because the probe used the same images in the same order at the same rates.
    """

    initial: Gap
    after_epoch: tuple[Gap, ...]
    epochs: int
    completed: bool

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for checkpoints."""
        return {"gaps": list(map(astuple, (self.initial, *self.after_epoch))), "epochs": self.epochs, "whole": self.completed}

    @classmethod
    def from_json(cls, numbers: Mapping[str, Any]) -> Probe:
        """The inverse of ``to_json``."""
        initial, *after = (Gap(*pair) for pair in numbers["gaps"])
        return cls(initial, tuple(after), numbers["epochs"], numbers["whole"])


@dataclass(frozen=True)
class LearnResult:
    """What learning a task did.

    Attributes:
        task: The index of the task.
        epochs: The epochs of its adapter phase.
        probe: What the probe measured, if there was one.
        adapters: What was decided about the adapters before the task, with ``adapt: auto``.
        representation: The image feature that was chosen on the first task, with ``representation: auto``.
    """

    task: int
    epochs: int
    probe: Probe | None = None
    adapters: Decision | None = None
    representation: Representation | None = None


def preserve(
    backbone: Backbone,
    task: TaskData,
    settings: Settings,
    epochs: int | None,
    on_step: OnStep,
    checkpoints: TaskCheckpoints,
    *,
    replayed: Objective | None = None,
) -> LearnResult:
    """Train the adapters on a task for as long as the modality gap allows (docs/method.md 4 and 5).

    Args:
        backbone: The CLIP with the adapters, which are trained in place.
        task: The task.
        settings: The settings of the model.
        epochs: The length of the adapter phase; None lets the probe find it.
        on_step: Called after each step.
        checkpoints: Checkpoints of the task.
        replayed: The objective to train instead of the task's own, if old images are replayed.

    Returns:
        The index of the task, its epochs, and what the probe measured if it was run.
    """
    probed, initial = None, adapter_state(backbone)
    single_class = len(task.names) == 1
    if epochs is None and not single_class:
        probed = checkpoints.run(
            "probe",
            lambda: probe(backbone, task, settings, on_step, checkpoints),
            recall=lambda done: Probe.from_json(done.notes["probe"]),
        )
        checkpoints.notes["probe"] = probed.to_json()
        epochs = probed.epochs
    if single_class and replayed is None and settings.adapter_loss != "align":
        epochs = 0  # the cross-entropy of a single class is zero

    def train() -> None:
        if epochs:
            objective = replayed or task_objective(backbone, task, settings)
            phase = adapter_phase(settings, task.index, epochs)
            train_adapters(backbone, objective, phase, on_step=on_step, checkpoints=checkpoints)

    trained_by_probe = probed is not None and probed.completed and replayed is None
    if probed is not None and not trained_by_probe:
        set_adapter_state(backbone, initial)
    if not trained_by_probe or checkpoints.is_past("adapter"):
        checkpoints.run("adapter", train, recall=lambda done: set_adapter_state(backbone, done.part("adapter")))
    return LearnResult(task.index, epochs or 0, probed)


def probe(backbone: Backbone, task: TaskData, settings: Settings, on_step: OnStep, checkpoints: TaskCheckpoints) -> Probe:
    """Train for up to ``max_epochs`` and stop after the first epoch whose gap crosses the limit (docs/method.md 4).

    The adapters stay as trained; ``preserve`` restores the initial ones if the probe stopped early.

    Args:
        backbone: The CLIP with the adapters.
        task: The first task.
        settings: The settings of the model.
        on_step: Called after each step.
        checkpoints: Checkpoints of the task.
    """

    def gap() -> Gap:
        images, texts = encoder.images(task.pixels, shared=True), encoder.texts(task.texts)
        size, scale = settings.adapter_batch_size, backbone.logit_scale
        measured = measure_gap(images, task.labels, texts, logit_scale=scale, batch_size=size, average=settings.gap_average)
        # Processes round differently, and must not disagree on when to stop.
        return Gap(*map(parallel.broadcast_float, astuple(measured)))

    encoder = Encoder(backbone, prompt=settings.prompt, batch_size=settings.encode_batch_size)
    initial, least = gap(), LEAST_SIMILARITY if family_of(backbone.model).sigmoid else 0.0
    saved = checkpoints.checkpoint_in("probe")
    after = [Gap(*pair) for pair in checkpoints.notes.get("seen", [])[: saved.epoch - 1 if saved else 0]]

    def allowed() -> int | None:
        return epochs_within(settings.alpha, initial.negative, [each.negative for each in after], least)

    def within_limit(epoch: int) -> bool:
        after.append(gap())
        checkpoints.notes["seen"] = list(map(astuple, after))
        return allowed() is None

    phase = adapter_phase(settings, task.index, settings.max_epochs, "probe")
    objective = task_objective(backbone, task, settings)
    completed = train_adapters(backbone, objective, phase, on_step=on_step, on_epoch=within_limit, checkpoints=checkpoints)
    return Probe(initial, tuple(after), allowed() or settings.max_epochs, completed)
