"""The evaluation of predictions: recall and precision of each class, the most frequent confusions, calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import NotRequired, TypedDict

from mgclip.experiment.schemas import Confusion, SkippedImage

MAX_PAIRS = 20
"""The most frequent confusions that are listed."""
BINS = 10
"""Bins of confidence."""


class ClassFigures(TypedDict):
    """A class: its images, how many were recognised, how often it was predicted; recall and precision, None if undefined."""

    name: str
    images: int
    right: int
    predicted: int
    recall: float | None
    precision: float | None


class CalibrationBin(TypedDict):
    """The predictions with a confidence from ``low`` to ``high``, their mean confidence and accuracy; None without any."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class ReliabilityDiagram(TypedDict):
    """Confidence against accuracy, and the expected calibration error, a share of 1."""

    bins: list[CalibrationBin]
    error: float


class UnknownShare(TypedDict):
    """The threshold for unknown images that a model stores, and the share of the measured images that are below it."""

    below: float
    share: float


class Evaluation(TypedDict):
    """A model measured on a folder of labelled images. Accuracies are shares of 1; None for a branch that the model lacks.

    ``learned``: how many of the images the model has learned; ``others_accuracy``: the accuracy on the other images, None if it
    has learned all or none of them; ``unmeasured``: learned classes without images; ``likeness``: thresholds for unknown images
    that 99, 95 and 90 % of the images in ``likeness_of`` reach, and ``reached`` the shares of the measured images that reach
    them; ``unknown``: what a threshold stored in the model means for them, if there is one; ``note``: which part of the folder
    was measured; ``skipped``: images that could not be read.
    """

    model: str
    folder: str
    images: int
    learned: NotRequired[int | None]
    others_accuracy: NotRequired[float | None]
    accuracy: float
    text_accuracy: float | None
    image_accuracy: float | None
    unmeasured: NotRequired[list[str]]
    classes: list[ClassFigures]
    confused: list[Confusion]
    likeness: NotRequired[dict[str, float] | None]
    likeness_of: NotRequired[str | None]
    reached: NotRequired[dict[str, float] | None]
    unknown: NotRequired[UnknownShare | None]
    leave_one_out: NotRequired[float | None]
    calibration: ReliabilityDiagram
    note: NotRequired[str]
    skipped: NotRequired[list[SkippedImage]]


@dataclass(frozen=True)
class JudgedImage:
    """An image whose class is known, and the answer to it.

    Attributes:
        file: The image.
        truth: Its class.
        answer: The class with the largest confidence.
        confidence: Confidence in the answer.
        class_confidence: Confidence in its class.
        likeness: The largest score of the head; None if the model predicts from texts only.
        text: The probability of the answer in the text branch.
        head: The score of the head for the answer; None like ``likeness``.
    """

    file: Path
    truth: str
    answer: str
    confidence: float
    class_confidence: float
    likeness: float | None
    text: float
    head: float | None


def describe_learned(evaluation: Evaluation) -> str:
    """A sentence on the images that the model has learned, on which it is better than on new ones; empty if there are none."""
    learned, images = evaluation.get("learned"), evaluation["images"]
    if not learned:
        return ""
    others = evaluation.get("others_accuracy")
    if others is None:
        these = "this image" if images == 1 else "all of these images"
        return f"the model has learned {these}, so the accuracy says little: measure it on other images too"
    number = f"{learned:,} of these {images:,} images"
    return f"the model has learned {number}; accuracy on the {images - learned:,} not learned: {100 * others:.2f} %"


def per_class(names: Sequence[str], truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> list[ClassFigures]:
    """The figures of each class.

    Args:
        names: The classes.
        truth: The class of each image, as a position in ``names``, ``(n,)`` with at least one image.
        predicted: Its prediction in the same form.
    """
    images, answers, right = (np.bincount(each, minlength=len(names)) for each in (truth, predicted, truth[truth == predicted]))
    return [
        {
            "name": name,
            "images": int(images[i]),
            "right": int(right[i]),
            "predicted": int(answers[i]),
            "recall": float(right[i] / images[i]) if images[i] else None,
            "precision": float(right[i] / answers[i]) if answers[i] else None,
        }
        for i, name in enumerate(names)
    ]


def confused(
    names: Sequence[str], truth: NDArray[np.int64], predicted: NDArray[np.int64], most: int = MAX_PAIRS
) -> list[Confusion]:
    """The most frequent mistakes: the class, the class predicted instead, and how often.

    They are counted as pairs: scikit-learn's confusion matrix has a cell for every two classes, a gigabyte for 11,000.
    """
    pairs = Counter((int(a), int(b)) for a, b in zip(truth, predicted, strict=True) if a != b)
    ranked = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"truth": names[a], "predicted": names[b], "count": count} for (a, b), count in ranked[:most]]


def calibration(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> ReliabilityDiagram:
    """Compare the confidence of each prediction, ``(n,)`` with at least one, with whether it is ``right``, ``(n,)``, in
    ``BINS`` bins of equal width.

    The expected calibration error is the mean distance of both over the bins, weighted by the number of predictions.
    """
    # scikit-learn's calibration_curve drops empty bins and returns no counts, which the error and the report need.
    index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows: list[CalibrationBin] = []
    error = 0.0
    for number in range(BINS):
        inside = index == number
        count, low, high = int(inside.sum()), number / BINS, (number + 1) / BINS
        mean, accuracy = (float(confidence[inside].mean()), float(right[inside].mean())) if count else (None, None)
        rows.append({"low": low, "high": high, "count": count, "confidence": mean, "accuracy": accuracy})
        if mean is not None and accuracy is not None:
            error += count / len(confidence) * abs(mean - accuracy)
    return {"bins": rows, "error": error}
