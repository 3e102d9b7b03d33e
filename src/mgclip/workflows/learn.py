"""Learn the classes of a plan into a model folder, as its next version, and measure what this changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mgclip.clip.adapters import without_adapters
from mgclip.experiment.schemas import SkippedImage
from mgclip.method.learner import MGCLIP
from mgclip.method.training import OnStep
from mgclip.names import find
from mgclip.saving.store import HELD_OUT
from mgclip.words import count
from mgclip.workflows.held_out import as_json, held_out_images, read_held_out
from mgclip.workflows.measure import LabelledImages, accuracy, gap_of, text_accuracy
from mgclip.workflows.note import LearnNote, Remarks, TextMeasures
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
    """Learn as planned and save the next version. The caller has held the lock of the folder since it read the model.

    If this is interrupted or fails, the active version stays, and the same training run resumes from its last checkpoint.

    Args:
        model: The model.
        folder: Its folder.
        plan: What to learn.
        origin: Where the images come from, for the note.
        retention: Images of classes never trained on, by class.
        skipped: Images that were left out, for the note.
        on_step: Called after each training step.
        checkpoint_every: Steps between checkpoints.
        stop: Called after each step of the adapters; if it returns True, the step is saved and ``Stopped`` raised.

    Returns:
        The note of the version.

    Raises:
        Stopped: If the user asked to stop.

    Example:
        >>> model = MGCLIP.from_pretrained("iconclip", settings={"epochs": 1})
        >>> plan = make_plan(model, read_source(Path("march")), share=0.2, seed=0)
        >>> learn_folder(model, Path("shop"), plan, origin="march")["what"]
        'learned 2 classes'
    """
    begun = time.perf_counter()
    remembered = read_held_out(folder)
    old_images, gone = held_out_images(folder, model.class_names)
    new, (old, unreadable) = LabelledImages.of(model, plan.tests), LabelledImages.readable(model, old_images)
    kept = LabelledImages.of(model, retention or {})
    before = model.classify(old.features(model)).names if len(old) else []
    with without_adapters(model.backbone):
        untuned = _by_text(model, plan, (new, new.features(model)), (old, old.features(model)), kept)
    files = [file for own in plan.train.values() for file in own]
    labels = [name for name, own in plan.train.items() for _ in own]
    checkpoints = open_task_checkpoints(folder, model, plan.train, plan.texts, every=checkpoint_every, stop=stop)
    learned = model.learn(
        files, labels, list(plan.train), class_texts=plan.texts, on_step=on_step, checkpoints=checkpoints
    )
    features = new.features(model), old.features(model)
    after = [model.classify(part).names if len(part) else [] for part in features]
    remarks: Remarks = {}
    if skipped:
        remarks["skipped"] = list(skipped)
    if plan.notes:
        remarks["notes"] = list(plan.notes)
    note: LearnNote = {
        "what": f"learned {count(len(plan.train), 'class', 'classes')}",
        "origin": origin,
        "classes": list(plan.train),
        "images": plan.images,
        **remarks,
        "epochs": learned.epochs,
        "test_images": {"new": len(new), "old": len(old), "gone": gone + unreadable},
        "accuracy": {
            "new": accuracy(after[0], new.truth),
            "old": accuracy(after[1], old.truth),
            "old_before": accuracy(before, old.truth),
            "all": accuracy([*after[0], *after[1]], [*new.truth, *old.truth]),
        },
        "untuned": untuned,
        "tuned": _by_text(model, plan, (new, features[0]), (old, features[1]), kept),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    held = {name: places for name, places in remembered.items() if find(name, model.class_names) is not None}
    model.save_pretrained(folder, note=note, beside={HELD_OUT: as_json({**held, **plan.tests})})
    remove_task_checkpoints(folder)
    return note


def _by_text(
    model: MGCLIP,
    plan: Plan,
    new: tuple[LabelledImages, Tensor],
    old: tuple[LabelledImages, Tensor],
    kept: LabelledImages,
) -> TextMeasures:
    """Measure the text branch with the current weights, on images and their features."""
    own = dict(zip(plan.train, plan.texts, strict=True))
    known = {**dict(zip(model.class_names, model.class_texts, strict=True)), **own}
    gap = gap_of(model, new[1], new[0].truth, own)
    zero_shot = {name: name for name in dict.fromkeys(kept.truth)}
    return {
        "gap": None if gap is None else {"positive": gap.positive, "negative": gap.negative},
        "by_text": text_accuracy(model, torch.cat([new[1], old[1]]), [*new[0].truth, *old[0].truth], known),
        "retention": text_accuracy(model, kept.features(model), kept.truth, zero_shot),
    }
