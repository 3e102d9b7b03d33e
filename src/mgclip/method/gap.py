"""The modality gap as the method measures it: similarity of matching and of non-matching pairs (docs/method.md 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gap:
    """Mean logit of an image with the text of its class, and with the texts of all other classes (NaN if there are none)."""

    positive: float
    negative: float


def similarities(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Per image, the logit of its own class and the mean logit of all others: ``(b, c)`` and ``(b,)`` -> two ``(b,)``."""
    own = logits.gather(1, labels[:, None])[:, 0]
    others = (logits.sum(1) - own) / (logits.shape[1] - 1)
    return own, others


def measure_gap(
    features: Tensor,
    labels: Tensor,
    texts: Tensor,
    *,
    logit_scale: Tensor,
    batch_size: int,
    average: Literal["published", "exact"] = "published",
) -> Gap:
    """The gap between images and the texts of the classes seen so far (docs/method.md 3).

    Args:
        features: Normalised image features ``(n, d)``.
        labels: Their classes ``(n,)``.
        texts: Normalised text features ``(c, d)`` of all classes.
        logit_scale: The factor from cosines to logits, a scalar.
        batch_size: Images compared at a time.
        average: ``published`` averages the means of batches, each batch weighing the same; ``exact`` averages over images. They
            agree if all batches are equally large.
    """
    own, others = [], []
    for part, of_part in zip(features.split(batch_size), labels.to(features.device).split(batch_size), strict=True):
        positive, negative = similarities(logit_scale * part @ texts.T, of_part)
        own.append(positive)
        others.append(negative)
    if average == "published":
        own, others = [o.mean()[None] for o in own], [o.mean()[None] for o in others]
    return Gap(torch.cat(own).mean().item(), torch.cat(others).mean().item())
