"""Evaluate a model on a folder of labelled images: each class, confusions, calibration, and each branch alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgclip.errors import InputError
from mgclip.experiment.evaluation import Evaluation, calibration, confused, per_class
from mgclip.method.learner import MGCLIP
from mgclip.method.predictions import Predictions
from mgclip.names import canonical
from mgclip.stream.folder import misspelling
from mgclip.words import count
from mgclip.workflows.measure import LabelledImages

BATCH = 4096
"""Images compared with all classes at a time."""


def evaluate_folder(model: MGCLIP, images: Mapping[str, Sequence[Path]], *, model_name: str, folder: str) -> Evaluation:
    """Measure everything that ``mgclip evaluate`` reports.

    Args:
        model: The model.
        images: Image files by class.
        model_name: Name of the model, for the report.
        folder: Name of the folder, for messages and the report.

    Raises:
        InputError: If there are no images, or the model has not learned one of the classes.

    Example:
        >>> model = MGCLIP.from_pretrained("shop")
        >>> evaluate_folder(model, read_images(Path("march")), model_name="shop", folder="march")["accuracy"]
        1.0
    """
    known = {canonical(name): label for label, name in enumerate(model.class_names)}
    if unknown := [name for name in images if canonical(name) not in known]:
        near = misspelling(unknown[0], model.class_names)
        raise InputError(
            f"{len(unknown)} of {count(len(images), 'class folder')} cannot be matched to a class of this model "
            f"(first: {unknown[0]!r}"
            + (f"; the model knows {near!r}" if near else "")
            + "): rename them, or give their class names in classes.csv."
        )
    labelled = LabelledImages.of(model, images, keep_bytes=0)
    if not len(labelled):
        raise InputError(f"{folder} contains no image to measure on.")
    features = labelled.features(model)
    truth = np.array([known[canonical(name)] for name in labelled.truth])
    counts = np.bincount(truth, minlength=len(known))
    parts = [model.classify(part) for part in features.split(BATCH)]
    found = np.concatenate([part.labels for part in parts])
    return {
        "model": model_name,
        "folder": folder,
        "images": len(truth),
        "accuracy": float((found == truth).mean()),
        "text_accuracy": float((np.concatenate([part.text_probabilities.argmax(1) for part in parts]) == truth).mean()),
        "image_accuracy": _head_accuracy(model, parts, truth),
        "unmeasured": [name for name, number in zip(model.class_names, counts, strict=True) if number == 0],
        "classes": [row for row in per_class(model.class_names, truth, found) if row["images"] or row["predicted"]],
        "confused": confused(model.class_names, truth, found),
        "likeness": _likeness(model, parts),
        "calibration": calibration(np.concatenate([part.top_confidence for part in parts]), found == truth),
    }


def _head_accuracy(model: MGCLIP, parts: Sequence[Predictions], truth: NDArray[Any]) -> float | None:
    if not model.settings.uses_head:
        return None
    return float((np.concatenate([part.head_scores.argmax(1) for part in parts]) == truth).mean())


def _likeness(model: MGCLIP, parts: Sequence[Predictions]) -> dict[str, float] | None:
    """Thresholds for unknown images that 99, 95 and 90 % of these images reach."""
    if not model.settings.uses_head:
        return None
    likeness = np.concatenate([part.likeness for part in parts])
    return {str(share): float(np.quantile(likeness, 1 - share / 100)) for share in (99, 95, 90)}
