"""Learn the classes of a plan into a model folder, as its next version, and measure what this changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mgclip.clip.adapters import adapters_have_effect, without_adapters
from mgclip.clip.pixels import KEEP_BYTES, MemoryBudget
from mgclip.experiment.schemas import AdapterDecision, SkippedImage
from mgclip.experiment.task_record import adapter_decision
from mgclip.method.learner import MGCLIP
from mgclip.method.training import OnStep
from mgclip.saving.store import HELD_OUT, check_state
from mgclip.workflows.branches import leave_one_out, left_out_branches, measured_branches
from mgclip.workflows.held_out import HeldOut, as_json, held_out, joined, measurable, read_held_out
from mgclip.workflows.measure import LabelledImages, accuracy, flatten, gap_of, text_accuracy
from mgclip.workflows.note import NOT_MEASURED, Accuracies, LearnNote, MeasuredAccuracy, Remarks, TextMeasures, what_was_learned
from mgclip.workflows.plan import Plan
from mgclip.workflows.task_checkpoints import open_task_checkpoints, remove_task_checkpoints


def learn_folder(
    model: MGCLIP,
    folder: Path,
    plan: Plan,
    *,
    origin: str,
    retention: Mapping[str, Sequence[Path]] | None = None,
    skipped: Sequence[SkippedImage] = (),
    on_step: OnStep = lambda step: None,
    checkpoint_every: int = 100,
    stop: Callable[[], bool] = lambda: False,
) -> LearnNote:
    """Learn as planned, save the next version and return its note. The caller holds the lock of the folder.

    If this is interrupted or fails, the active version stays, and the same training run resumes from its last checkpoint.

    Args:
        model: The model, which will be changed.
        folder: Folder of the model.
        plan: What to learn.
        origin: Where the images come from, for the note.
        retention: Images of classes never trained on, by class.
        skipped: Images that were left out, for the note.
        on_step: Called after each training step.
        checkpoint_every: Steps between checkpoints.
        stop: Called after each step of the adapters; if it returns True, the step is saved and ``Stopped`` raised.

    Example:
        >>> model = MGCLIP.from_pretrained("iconclip", settings={"epochs": 1})
        >>> plan = make_plan(model, read_source(Path("march")), share=0.2, seed=0)
        >>> learn_folder(model, Path("shop"), plan, origin="march")["what"]
        'learned 2 classes'
    """
    begun = time.perf_counter()
    earlier = read_held_out(folder) if plan.held_out is None else plan.held_out
    images = _images(model, earlier, plan, retention or {})
    features = images.features(model)
    before = _answers_before(model, features[1])
    untuned = _untuned(model, plan, images, features)
    checkpoints = open_task_checkpoints(folder, model, plan.train, plan.texts, every=checkpoint_every, stop=stop)
    learned = model.learn(
        *flatten(plan.train), list(plan.train), class_texts=plan.texts, on_step=on_step, checkpoints=checkpoints
    )
    if learned.epochs or learned.adapters is not None:  # otherwise they are the same as before
        features = images.features(model)
    note: LearnNote = {
        "what": what_was_learned(plan.new, plan.grown),
        "origin": origin,
        "classes": list(plan.train),
        "images": plan.images,
        **_remarks(plan, skipped, adapter_decision(learned), model.backbone.image_precision),
        "epochs": learned.epochs,
        **_measured(model, images, features, before),
        "untuned": untuned,
        "tuned": _by_text(model, plan, images, features),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    check_state(folder, model.saved_as)
    _save(model, folder, plan, earlier, note)
    return note


def _answers_before(model: MGCLIP, features: Tensor) -> list[str]:
    """The answers for images of earlier classes; none from a model of one class, which is always right."""
    return [*model.classify(features).names] if len(features) and len(model.class_names) > 1 else []


def _untuned(model: MGCLIP, plan: Plan, images: _Images, features: tuple[Tensor, Tensor]) -> TextMeasures:
    """Measure the text branch of the pre-trained CLIP; ``features`` are those with the current adapters."""
    adapted = adapters_have_effect(model.backbone)
    with without_adapters(model.backbone):
        return _by_text(model, plan, images, images.features(model) if adapted else features)


def _save(model: MGCLIP, folder: Path, plan: Plan, earlier: HeldOut, note: LearnNote) -> None:
    """Save the next version with its note and its held-out images."""
    images = joined(model.class_names, earlier, held_out(plan.tests, plan.folder))
    model.save_pretrained(folder, note=note, files={HELD_OUT: as_json(images, folder)})
    remove_task_checkpoints(folder)


class _Images(NamedTuple):
    """The images to measure on before and after learning: those of new classes, of earlier ones and of classes never trained on;
    and how many images of earlier classes cannot be found or read.
    """

    new: LabelledImages
    old: LabelledImages
    kept: LabelledImages
    gone: int

    def features(self, model: MGCLIP) -> tuple[Tensor, Tensor]:
        """Features of the images of new and of earlier classes."""
        return self.new.features(model), self.old.features(model)

    @property
    def truth(self) -> list[str]:
        """The classes of the images of new and of earlier classes."""
        return [*self.new.truth, *self.old.truth]


def _images(model: MGCLIP, earlier: HeldOut, plan: Plan, retention: Mapping[str, Sequence[Path]]) -> _Images:
    old_images, gone = measurable(earlier, model.class_names)
    room = MemoryBudget(KEEP_BYTES)
    old, unreadable = LabelledImages.readable(model, old_images, room)
    new, kept = (LabelledImages.of(model, images, room) for images in (plan.tests, retention))
    return _Images(new, old, kept, gone + unreadable)


def _remarks(plan: Plan, skipped: Sequence[SkippedImage], adapters: AdapterDecision | None, precision: str) -> Remarks:
    remarks: Remarks = {"precision": precision}
    if plan.grown:
        remarks["grown"] = list(plan.grown)
    if adapters is not None:
        remarks["adapters"] = adapters
    if skipped:
        remarks["skipped"] = list(skipped)
    if plan.notes:
        remarks["notes"] = list(plan.notes)
    return remarks


def _measured(model: MGCLIP, images: _Images, features: tuple[Tensor, Tensor], before: Sequence[str]) -> MeasuredAccuracy:
    """Accuracies with the current weights; ``before`` are the names predicted for images of earlier classes before learning."""
    found = [model.classify(part) for part in features if len(part)]
    names, truth, new = [name for part in found for name in part.names], images.truth, len(images.new)
    accuracies: Accuracies = {
        "new": accuracy(names[:new], images.new.truth),
        "old": accuracy(names[new:], images.old.truth),
        "old_before": accuracy(before, images.old.truth) if before else None,
        "all": accuracy(names, truth),
    }
    return {
        "test_images": {"new": new, "old": len(images.old), "gone": images.gone},
        "accuracy": accuracies if len(model.class_names) > 1 else NOT_MEASURED,
        "branches": measured_branches(model, found, truth),
        "leave_one_out": leave_one_out(model),
        "left_out": left_out_branches(model),
    }


def _by_text(model: MGCLIP, plan: Plan, images: _Images, features: tuple[Tensor, Tensor]) -> TextMeasures:
    """Measure the text branch with the current weights."""
    own = dict(zip(plan.train, plan.texts, strict=True))
    known = {**dict(zip(model.class_names, model.class_texts, strict=True)), **own}
    kept = images.kept
    gap = gap_of(model, features[0], images.new.truth, own)
    zero_shot = {name: name for name in dict.fromkeys(kept.truth)}
    return {
        "gap": None if gap is None else {"positive": gap.positive, "negative": gap.negative},
        "by_text": text_accuracy(model, torch.cat(features), images.truth, known),
        "retention": text_accuracy(model, kept.features(model), kept.truth, zero_shot),
    }
