"""The note of a version that ``mgclip learn`` writes: what was learned, and what it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from mgclip.errors import InputError
from mgclip.experiment.schemas import AdapterDecision, GapRecord, SkippedImage, checked
from mgclip.method.analytic.decision import Decision, describe_decision
from mgclip.words import count

if TYPE_CHECKING:  # notes are read without waiting for PyTorch
    from mgclip.workflows.branches import BranchAccuracies


class TestImages(TypedDict):
    """Images measured on: of the new classes, of earlier classes, and those of earlier classes that cannot be found or read."""

    new: int
    old: int
    gone: int


class Accuracies(TypedDict):
    """Accuracy on the new classes, on earlier ones after and before learning, and on all. None without images, and of a model
    with a single class.
    """

    new: float | None
    old: float | None
    old_before: float | None
    all: float | None


NOT_MEASURED: Accuracies = {"new": None, "old": None, "old_before": None, "all": None}
"""The accuracies of a model with a single class, whose answers are always right."""


class TextMeasures(TypedDict):
    """The text branch: the gap of the new classes, accuracy on all classes, and zero-shot accuracy. None without images."""

    gap: GapRecord | None
    by_text: float | None
    retention: float | None


class Remarks(TypedDict, total=False):
    """Known classes that learned more images, images that were left out, what is not used or not measured, what was decided about
    the adapters, and the precision in which images were encoded.
    """

    adapters: AdapterDecision
    precision: str
    grown: list[str]
    skipped: list[SkippedImage]
    notes: list[str]


class MeasuredAccuracy(TypedDict):
    """How accurate the model is after learning.

    ``branches``: accuracy of the model and of each branch alone on all images measured. ``leave_one_out``: the share of learned
    images that would be recognised had they not been learned, and ``left_out`` the same for each branch; None for a trained head.
    """

    test_images: TestImages
    accuracy: Accuracies
    branches: BranchAccuracies
    leave_one_out: float | None
    left_out: BranchAccuracies | None


class LearnNote(MeasuredAccuracy, Remarks):
    """What was learned, and the measurements. ``untuned`` is the pre-trained CLIP, ``tuned`` the model after learning."""

    what: str
    origin: str
    classes: list[str]
    images: int
    epochs: int
    untuned: TextMeasures
    tuned: TextMeasures
    seconds: float


class LearnReport(LearnNote):
    """The note with the path of the model, the number of all its classes, and what could be done about the result."""

    model: str
    classes_in_all: int
    advice: list[str]


def what_was_learned(new: Sequence[str], grown: Sequence[str]) -> str:
    """What was done, in a few words, from the classes that are new and those that were known before."""
    parts = [f"learned {count(len(new), 'class', 'classes')}"] if new or not grown else []
    parts += [f"added images to {count(len(grown), 'class', 'classes')}"] if grown else []
    return " and ".join(parts)


def gap_moved(note: LearnNote) -> float | None:
    """Relative change of the negative similarity of the new classes, compared with the pre-trained CLIP."""
    before, after = note["untuned"]["gap"], note["tuned"]["gap"]
    if before is None or after is None or not before["negative"] or after["negative"] is None:
        return None
    return after["negative"] / before["negative"] - 1


def decision_in(note: Mapping[str, Any]) -> str:
    """What a note says was decided about the adapters, in one sentence; empty if it says nothing, or another program wrote it."""
    try:
        return describe_decision(Decision(**checked(AdapterDecision, note.get("adapters"), "the note")))
    except InputError:
        return ""


def leave_one_out_in(note: Mapping[str, Any]) -> float | None:
    """The leave-one-out accuracy that a note records; None if it records none, or another program wrote it."""
    left_out = note.get("left_out")
    recorded = (note.get("leave_one_out"), left_out.get("model") if isinstance(left_out, Mapping) else None)
    return next((share for share in recorded if isinstance(share, float)), None)
