"""The modality gap as the method measures it: similarity of matching and of non-matching pairs (docs/method.md 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mgclip.clip.backbone import Backbone
from mgclip.clip.pixels import Pixels


@dataclass(frozen=True)
class Gap:
    """Mean logit of an image with its own class's text, and with the texts of the other classes.

    ``negative`` is NaN where there is only one class.
    """

    positive: float
    negative: float


def similarities(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Per image, the logit of its own class and the mean logit of all others: ``(b, c)`` and ``(b,)`` -> two ``(b,)``."""
    own = logits.gather(1, labels[:, None])[:, 0]
    others = (logits.sum(1) - own) / (logits.shape[1] - 1)
    return own, others


@torch.no_grad()
def measure_gap(
    backbone: Backbone,
    pixels: Pixels,
    labels: Tensor,
    texts: Tensor,
    *,
    batch_size: int,
    average: Literal["published", "exact"] = "published",
) -> Gap:
    """Measure the gap on labelled images against text features ``(c, d)`` of the classes seen so far.

    ``published`` averages the means of batches, each batch weighing the same; ``exact`` averages over images. They agree
    when all batches are equally large.
    """
    own, others = [], []
    for part in torch.arange(len(labels)).split(batch_size):
        logits = backbone.logit_scale * backbone.image_features(pixels.batch(part)) @ texts.T  # [b, d] -> [b, c]
        positive, negative = similarities(logits, labels[part].to(logits.device))
        own.append(positive)
        others.append(negative)
    if average == "published":
        own, others = [o.mean()[None] for o in own], [o.mean()[None] for o in others]
    return Gap(torch.cat(own).mean().item(), torch.cat(others).mean().item())
