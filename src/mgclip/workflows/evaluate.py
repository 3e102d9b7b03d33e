"""Measure a model on a folder of labelled images: per class, confusions, calibration, and each branch alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgclip.errors import InputError
from mgclip.experiment.confusion import Calibration, CalibrationBin, Evaluation, confused, per_class
from mgclip.method.learner import MGCLIP
from mgclip.method.predictions import Predictions
from mgclip.names import same
from mgclip.stream.folder import misspelling
from mgclip.workflows.measure import Labelled

BINS = 10
AT_ONCE = 4096
"""Images compared with all classes at a time."""


def evaluate_folder(model: MGCLIP, images: Mapping[str, Sequence[Path]], *, model_name: str, folder: str) -> Evaluation:
    """Everything ``mgclip evaluate`` reports, of image files by class. Accuracies are shares of 1.

    Raises ``InputError`` where there is no image, or a class the model has not learned.
    """
    known = {same(name): place for place, name in enumerate(model.class_names)}
    if unknown := [name for name in images if same(name) not in known]:
        near = misspelling(unknown[0], model.class_names)
        raise InputError(
            f"The model has not learned the class {unknown[0]!r} ({len(unknown)} of {len(images)} folders are unknown to it)"
            + (f", but {near!r}" if near else "")
            + ": rename its folder as the model calls it, or say so in classes.csv."
        )
    labelled = Labelled.of(model, images)
    if not len(labelled):
        raise InputError(f"{folder} holds no image to measure on.")
    features = labelled.features(model)
    truth = np.array([known[same(name)] for name in labelled.truth])
    parts = [model.classify(part) for part in features.split(AT_ONCE)]
    found = np.concatenate([part.labels for part in parts])
    return {
        "model": model_name,
        "folder": folder,
        "images": len(truth),
        "accuracy": float((found == truth).mean()),
        "text_accuracy": float((np.concatenate([part.text.argmax(1) for part in parts]) == truth).mean()),
        "image_accuracy": _head_accuracy(model, parts, truth),
        "classes": [row for row in per_class(model.class_names, truth, found) if row["images"] or row["predicted"]],
        "confused": confused(model.class_names, truth, found),
        "likeness": _likeness(model, parts),
        "calibration": calibration(np.concatenate([part.top_confidence for part in parts]), found == truth),
    }


def _head_accuracy(model: MGCLIP, parts: Sequence[Predictions], truth: NDArray[Any]) -> float | None:
    if not model.settings.uses_head:
        return None
    return float((np.concatenate([part.image.argmax(1) for part in parts]) == truth).mean())


def _likeness(model: MGCLIP, parts: Sequence[Predictions]) -> dict[str, float] | None:
    """The likeness that 99, 95 and 90 % of these images reach: thresholds for ``--unknown-below`` that lose the rest of them."""
    if not model.settings.uses_head:
        return None
    likeness = np.concatenate([part.likeness for part in parts])
    return {str(share): float(np.quantile(likeness, 1 - share / 100)) for share in (99, 95, 90)}


def calibration(confidence: NDArray[Any], right: NDArray[Any], bins: int = BINS) -> Calibration:
    """Confidence against accuracy in bins of equal width, and their mean distance, weighted by images (expected calibration
    error).
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows: list[CalibrationBin] = []
    error = 0.0
    for number in range(bins):
        inside = place == number
        count = int(inside.sum())
        row: CalibrationBin = {
            "low": number / bins,
            "high": (number + 1) / bins,
            "count": count,
            "confidence": None,
            "accuracy": None,
        }
        if count:
            mean, share = float(confidence[inside].mean()), float(right[inside].mean())
            row = {**row, "confidence": mean, "accuracy": share}
            error += count / len(confidence) * abs(mean - share)
        rows.append(row)
    return {"bins": rows, "error": error}
