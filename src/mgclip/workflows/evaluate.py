"""Evaluate a model on a folder of labelled images: each class, confusions, calibration, and each branch alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import TypedDict

from mgclip.clip import parallel
from mgclip.errors import InputError
from mgclip.experiment.evaluation import Evaluation, JudgedImage, calibration, confused, per_class
from mgclip.method.analytic.calibration import SHARES, by_share
from mgclip.method.learner import MGCLIP
from mgclip.method.predictions import Predictions
from mgclip.names import indices_of, not_among
from mgclip.stream.folder import misspelling
from mgclip.words import count
from mgclip.workflows.branches import BranchAccuracies, left_out_branches
from mgclip.workflows.measure import LabelledImages, flatten

BATCH = 4096
"""Images compared with all classes at a time."""
LEFT_OUT = "learned images (each left out in turn)"
MEASURED = "these images"
"""The images from which thresholds for unknown images come."""


class Thresholds(TypedDict):
    """The leave-one-out accuracy, and thresholds for unknown images, by the share of ``likeness_of`` that reaches them."""

    leave_one_out: float | None
    likeness: dict[str, float] | None
    likeness_of: str | None


class LearnedEvidence(TypedDict):
    """What is measured of a solved head without other images: ``Thresholds``, and the leave-one-out accuracy of each branch."""

    leave_one_out: float | None
    left_out: BranchAccuracies
    likeness: dict[str, float]
    likeness_of: str


def evaluate_images(
    model: MGCLIP, images: Mapping[str, Sequence[Path]], *, model_name: str, folder: str
) -> tuple[Evaluation, list[JudgedImage]]:
    """Measure everything that ``mgclip evaluate`` reports, and judge each image.

    Args:
        model: The model.
        images: Image files by class.
        model_name: The name of the model in the evaluation.
        folder: The name of the folder in the evaluation and in messages.

    Returns:
        The evaluation, and the answer for each image.

    Raises:
        InputError: If there are no images, a class was not learned or an image cannot be read.

    Example:
        >>> model = MGCLIP.from_pretrained("shop")
        >>> evaluate_images(model, read_images(Path("march")), model_name="shop", folder="march")[0]["accuracy"]
        1.0
    """
    _check_known(images, model.class_names)
    labelled = LabelledImages.of(model, images, keep_bytes=0)
    if not len(labelled):
        raise InputError(f"{folder} contains no readable image of a class that the model knows.")
    marks = labelled.pixels.record_marks()
    features = labelled.features(model)
    truth = np.array(indices_of(labelled.truth, model.class_names), dtype=np.int64)
    counts = np.bincount(truth, minlength=len(model.class_names))
    parts = [model.classify(part) for part in features.split(BATCH)]
    found = np.concatenate([part.labels for part in parts])
    likeness = np.concatenate([part.likeness for part in parts])
    thresholds = _thresholds(model, likeness)
    least, below = thresholds["likeness"], model.settings.unknown_below
    learned = _learned(model, marks)

    def accuracy_of(labels: Iterable[NDArray[Any]]) -> float:
        return float((np.concatenate([*labels]) == truth).mean())

    evaluation: Evaluation = {
        "model": model_name,
        "folder": folder,
        "images": len(truth),
        "learned": None if learned is None else int(learned.sum()),
        "others_accuracy": None if learned is None else _others_accuracy(found == truth, learned),
        "accuracy": accuracy_of([found]),
        "text_accuracy": accuracy_of(part.text_probabilities.argmax(1) for part in parts),
        "image_accuracy": accuracy_of(part.head_scores.argmax(1) for part in parts) if model.settings.uses_head else None,
        "unmeasured": [name for name, number in zip(model.class_names, counts, strict=True) if number == 0],
        "classes": [row for row in per_class(model.class_names, truth, found) if row["images"] or row["predicted"]],
        "confused": confused(model.class_names, truth, found),
        "likeness": least,
        "likeness_of": thresholds["likeness_of"],
        "reached": None if least is None else {key: float((likeness >= value).mean()) for key, value in least.items()},
        "unknown": {"below": below, "share": float((likeness < below).mean())} if below else None,
        "leave_one_out": thresholds["leave_one_out"],
        "calibration": calibration(np.concatenate([part.top_confidence for part in parts]), found == truth),
    }
    return evaluation, _judged(model, flatten(images)[0], truth, parts)


def _check_known(images: Mapping[str, Sequence[Path]], known: Sequence[str]) -> None:
    """Raise ``InputError`` if the model does not know a class of the images."""
    if unknown := not_among(images, known):
        near = misspelling(unknown[0], known)
        raise InputError(
            f"{len(unknown)} of {count(len(images), 'class folder')} cannot be matched to a class of this model "
            f"(first: {unknown[0]!r}"
            + (f"; the model knows {near!r}" if near else "")
            + "): rename them, give their class names with --names or in classes.csv, or measure the others with --known-only."
        )


def branches_of(found: Evaluation) -> BranchAccuracies:
    """The accuracies of an evaluation, of the model and of each branch alone."""
    return {
        "images": found["images"],
        "model": found["accuracy"],
        "text": found["text_accuracy"],
        "head": found["image_accuracy"],
    }


def _judged(model: MGCLIP, files: Sequence[Path], truth: NDArray[Any], parts: Sequence[Predictions]) -> list[JudgedImage]:
    judged: list[JudgedImage] = []
    for part in parts:
        rows, labels = np.arange(len(part)), part.labels
        own = truth[len(judged) : len(judged) + len(part)]
        head = [part.likeness, part.head_scores[rows, labels]] if model.settings.uses_head else []
        numbers = [part.confidence[rows, labels], part.confidence[rows, own], part.text_probabilities[rows, labels], *head]
        for file, right, label, confidence, class_confidence, text, *scores in zip(
            files[len(judged) :], own, labels, *(each.tolist() for each in numbers), strict=False
        ):
            likeness, score = scores or (None, None)
            names = model.class_names[right], model.class_names[label]
            judged.append(JudgedImage(file, *names, confidence, class_confidence, likeness, text, score))
    return judged


def only_known(model: MGCLIP, images: Mapping[str, list[Path]]) -> tuple[dict[str, list[Path]], list[str]]:
    """The images of the classes that the model knows, and the names of the other classes."""
    others = not_among(images, model.class_names)
    return {name: files for name, files in images.items() if name not in others}, others


def learned_evidence(model: MGCLIP) -> LearnedEvidence:
    """Measure a solved head on its learned images, each as if it had not been learned.

    Raises:
        InputError: If the head is a trained one, or each class has a single image.
    """
    if model.solved is None:
        raise InputError("Only a solved head can be measured without images: give a folder of labelled images.")
    found, left_out = model.solved.calibration, left_out_branches(model)
    if left_out is None:
        raise InputError(
            "A single class, or one image of each class and copies of it, says nothing about the model: give a folder of "
            "labelled images."
        )
    return {
        "leave_one_out": left_out["model"],
        "left_out": left_out,
        "likeness": by_share(found.likeness),
        "likeness_of": LEFT_OUT,
    }


def _thresholds(model: MGCLIP, likeness: NDArray[Any]) -> Thresholds | LearnedEvidence:
    """Thresholds for unknown images: of a solved head from its learned images, otherwise from the likeness of these images."""
    if not model.settings.uses_head:
        return {"leave_one_out": None, "likeness": None, "likeness_of": None}
    if model.solved is not None and model.solved.calibration.accuracy is not None:
        return learned_evidence(model)
    shares = np.quantile(likeness, [1 - share / 100 for share in SHARES])
    return {"leave_one_out": None, "likeness": by_share(shares.tolist()), "likeness_of": MEASURED}


def _others_accuracy(right: NDArray[np.bool_], learned: NDArray[np.bool_]) -> float | None:
    """The accuracy on the images that were not learned; None if all or none were learned."""
    return float(right[~learned].mean()) if learned.any() and not learned.all() else None


def _learned(model: MGCLIP, marks: Tensor) -> NDArray[np.bool_] | None:
    """Which of the images with these fingerprints the model has learned; None if it keeps no record, or this process has seen
    only some of them.
    """
    if model.solved is None or parallel.is_distributed():
        return None
    return np.array([bool(labels) for labels in model.solved.learned.labels_of(marks)])
