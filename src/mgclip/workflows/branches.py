"""How accurate each branch is alone, and what to do if one of them is better than both together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import TypedDict

from mgclip.method.learner import MGCLIP
from mgclip.method.predictions import Predictions
from mgclip.words import command_line
from mgclip.workflows.measure import accuracy

CLEARLY_MORE = 0.01
"""By how much a branch must be more accurate to be recommended; it must also be right on at least two images more."""


class BranchAccuracies(TypedDict):
    """The accuracy of the model, of its text branch alone and of its image branch (``head``) alone, on a number of images.

    None without images; that of a branch is None if the model predicts with the other one only, and it was not computed.
    """

    images: int
    model: float | None
    text: float | None
    head: float | None


def measured_branches(model: MGCLIP, predictions: Sequence[Predictions], truth: Sequence[str]) -> BranchAccuracies:
    """The accuracies on images whose classes are known.

    Args:
        model: The model.
        predictions: Its predictions for the images, in parts.
        truth: The name of the class of each image.
    """
    if not truth:
        return {"images": 0, "model": None, "text": None, "head": None}
    names = np.array(model.class_names)
    text = np.concatenate([found.text_probabilities.argmax(1) for found in predictions])
    head = np.concatenate([found.head_scores.argmax(1) for found in predictions]) if model.settings.uses_head else None
    return {
        "images": len(truth),
        "model": accuracy([name for found in predictions for name in found.names], truth),
        "text": accuracy(names[text].tolist(), truth),
        "head": None if head is None else accuracy(names[head].tolist(), truth),
    }


def left_out_branches(model: MGCLIP) -> BranchAccuracies | None:
    """The accuracies on the learned images, each left out in turn; None for a trained head, or if nothing can be left out."""
    if model.solved is None or model.solved.calibration.accuracy is None:
        return None
    found, head = model.solved.calibration, model.solved
    text = None if model.settings.branches == "image" else found.text_accuracy  # without texts there are no logits of texts
    active = {"both": found.accuracy, "image": found.head_accuracy, "text": text}[model.settings.branches]
    return {"images": head.left_out, "model": active, "text": text, "head": found.head_accuracy}


def leave_one_out(model: MGCLIP) -> float | None:
    """The accuracy of the model on the learned images, each left out in turn; None as for ``left_out_branches``."""
    left_out = left_out_branches(model)
    return None if left_out is None else left_out["model"]


def each_alone(found: BranchAccuracies) -> str:
    """The accuracy of each branch alone, in words; empty if one was not measured."""
    if found["text"] is None or found["head"] is None:
        return ""
    return f"text branch only {100 * found['text']:.2f} %, image branch only {100 * found['head']:.2f} %"


def better_alone(model: MGCLIP, found: BranchAccuracies, name: str) -> str | None:
    """Recommend one branch if it alone is clearly more accurate than both together.

    Args:
        model: The model.
        found: Its accuracies.
        name: Its name in commands.

    Returns:
        A sentence with the command that uses the branch alone; None if there is nothing to recommend.
    """
    if model.settings.branches != "both" or found["model"] is None:
        return None
    alone = {"text": found["text"], "image": found["head"]}
    branch, best = max(alone.items(), key=lambda item: -1.0 if item[1] is None else item[1])
    if best is None or best - found["model"] < max(CLEARLY_MORE, 1.5 / found["images"]):
        return None
    return (
        f"the {branch} branch alone is more accurate ({100 * best:.2f} %) than both branches together "
        f"({100 * found['model']:.2f} %): `mgclip set {command_line([name])} branches={branch}` uses it alone"
    )
