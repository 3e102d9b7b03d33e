"""Prediction from both branches over all seen classes (docs/method.md 7)."""

from __future__ import annotations

from torch import Tensor

from mgclip.method.analytic.calibration import Calibration
from mgclip.method.settings import Settings


def fuse(text_logits: Tensor, cosines: Tensor, *, vision_weight: float, flattened: bool) -> Tensor:
    """Probabilities ``(b, c)`` of text logits ``(b, c)`` and head cosines ``(b, c)``.

    With ``flattened``, as published, p = (softmax(softmax(z)) + beta softmax(cosines)) / (1 + beta). The second softmax flattens
    the text branch to about the scale of the head, which has no temperature. Otherwise the text branch has one softmax.
    """
    text = text_logits.softmax(-1)
    if flattened:
        text = text.softmax(-1)
    return (text + vision_weight * cosines.softmax(-1)) / (1 + vision_weight)


def branch_probabilities(
    text_logits: Tensor | None, scores: Tensor, settings: Settings, calibration: Calibration | None
) -> Tensor:
    """Probabilities ``(b, c)`` from the branches named in the settings.

    Args:
        text_logits: Text logits ``(b, c)``; the image branch alone needs none.
        scores: Scores of the head ``(b, c)``: cosines, or scores of the solved head.
        settings: The settings of the model.
        calibration: The weights of both branches, if the head is solved.
    """
    if settings.branches == "text" and text_logits is not None:
        return text_logits.softmax(-1)
    if settings.branches == "image":
        text_logits = None
    if calibration is not None:
        return calibration.logits(scores, text_logits).softmax(-1)
    if text_logits is None:
        return scores.softmax(-1)
    return fuse(text_logits, scores, vision_weight=settings.vision_weight, flattened=settings.fusion == "published")


def confidences(probabilities: Tensor, scale: float, settings: Settings, calibration: Calibration | None) -> Tensor:
    """Probabilities that people can read, from those of ``branch_probabilities``, in the same order.

    Those of a solved head are calibrated and those of the texts are CLIP's own. Only the flat ones of a trained head change.
    """
    if calibration is not None or settings.branches == "text":
        return probabilities
    return sharpened(probabilities, scale)


def sharpened(probabilities: Tensor, scale: float) -> Tensor:
    """Probabilities in the same order that people can read: p^scale, normalised to sum to 1.

    The published mixture is flat by design: with 100 classes all probabilities lie near 0.01. The scale is that of CLIP's logits.
    """
    return (scale * probabilities.double().log()).softmax(-1)
