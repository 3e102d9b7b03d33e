"""Prediction from both branches over all seen classes (docs/method.md 7)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mgclip.method.settings import Settings


def fuse(
    text_logits: Tensor, cosines: Tensor, *, vision_weight: float, mode: Literal["published", "single-softmax"]
) -> Tensor:
    """Probabilities ``(b, c)`` of text logits ``(b, c)`` and head cosines ``(b, c)``.

    ``published``: p = (softmax(softmax(z)) + beta softmax(cosines)) / (1 + beta). The text branch is softmaxed twice and the
    head has no temperature, which puts both on a similar scale; that is what produced the published numbers.
    ``single-softmax`` takes the text branch's softmax once.
    """
    text = text_logits.softmax(-1)
    if mode == "published":
        text = text.softmax(-1)
    return (text + vision_weight * cosines.softmax(-1)) / (1 + vision_weight)


def branch_probabilities(text_logits: Tensor | None, cosines: Tensor, settings: Settings) -> Tensor:
    """Probabilities ``(b, c)`` from the branches named in the settings. The image branch alone needs no ``text_logits``."""
    if settings.branches == "image" or text_logits is None:
        return cosines.softmax(-1)
    if settings.branches == "text":
        return text_logits.softmax(-1)
    return fuse(text_logits, cosines, vision_weight=settings.vision_weight, mode=settings.fusion)


def confidences(
    text_logits: Tensor,
    cosines: Tensor,
    *,
    scale: float,
    vision_weight: float,
    branches: Literal["both", "text", "image"],
) -> Tensor:
    """The same mixture with the temperature of CLIP in both branches, ``(b, c)``: one softmax of the text logits, and one of the
    cosines times the logit scale. It is not part of the method, but a number that people can read.
    """
    text, image = text_logits.softmax(-1), (scale * cosines).softmax(-1)
    if branches != "both":
        return text if branches == "text" else image
    return (text + vision_weight * image) / (1 + vision_weight)
