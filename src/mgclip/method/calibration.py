"""Calibrated fusion: one probability from the solved head and the text branch, meant to be read (docs/method.md 11).

    log p(c | x) = a s_c / sd + b z_c - log-sum

with the head's scores s, the text logits z, and sd the standard deviation of the head's leave-one-out scores. a and b are fitted
to learned images as if each had not been learned, around a prior that decides if there is little evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PRIOR = (1.5, 0.3)
"""Weights of head and texts before any evidence."""

PRIOR_WEIGHT = 0.01
"""Weight of the prior: mean log-likelihood of an image for one squared unit of a weight's logarithm.

It does not fade with more images, because learned images may be easier than those to come, however many there are.
"""

TOGETHER = 0.7
"""Weight of the text branch next to the head, as a share of its weight alone: both err on the same images."""

SHARES = (99, 95, 90)
"""Percentages of images for which a likeness is stored."""


@dataclass(frozen=True)
class Calibration:
    """The weights of both branches, and what leave-one-out scores say about the model.

    Attributes:
        head: a, the weight of the head's standardised scores.
        text: b, the weight of the text logits.
        deviation: sd, the standard deviation of the head's leave-one-out scores.
        accuracy: The share of images that would be recognised had they not been learned; None without evidence.
        likeness: The largest head score that 99, 95 and 90 % of these images reach; empty without evidence.
        head_accuracy: The same share for the head alone; None without evidence, or if an older version stored the model.
        text_accuracy: The same share for the texts alone.
    """

    head: float = PRIOR[0]
    text: float = PRIOR[1]
    deviation: float = 1.0
    accuracy: float | None = None
    likeness: tuple[float, ...] = ()
    head_accuracy: float | None = None
    text_accuracy: float | None = None

    def logits(self, scores: Tensor, text_logits: Tensor | None) -> Tensor:
        """Fused logits ``(b, c)`` of the head's scores and the text logits, both ``(b, c)``; None for the head alone."""
        weighted = self.head / self.deviation * scores
        return weighted if text_logits is None else weighted + self.text * text_logits.to(scores)


def calibrate(
    scores: Tensor, text_logits: Tensor, labels: Tensor, counts: Tensor, *, text_weight: float | None = None
) -> Calibration:
    """Fit the calibration to learned images.

    The only image of a class says nothing about the head, which would not know the class without it. The texts would know it, so
    it counts as an image that the text branch answers alone.

    Args:
        scores: Leave-one-out scores of the images over all classes ``(n, c)``.
        text_logits: Their text logits ``(n, c)``.
        labels: Their classes ``(n,)``.
        counts: The number of learned images of each class ``(c,)``.
        text_weight: The weight of the texts; None fits it.
    """
    deviation = scores.std().item() if scores.numel() > 1 else 1.0
    if len(labels) == 0 or scores.shape[1] < 2 or not deviation > 0:
        text = PRIOR[1] if text_weight is None else text_weight
        return Calibration(text=text, deviation=deviation if deviation > 0 else 1.0)
    text_logits, several = text_logits.to(scores), counts[labels] > 1
    head, text = fit_weights(scores / deviation, text_logits, labels, several)
    text = text if text_weight is None else text_weight
    fitted = Calibration(head, text, deviation)
    if not several.any():
        return fitted
    scores, text_logits, labels = scores[several], text_logits[several], labels[several]
    both, of_head, of_text = (
        (values.argmax(1) == labels).double().mean().item()
        for values in (fitted.logits(scores, text_logits), scores, text_logits)
    )
    shares = torch.tensor([1 - share / 100 for share in SHARES], dtype=scores.dtype, device=scores.device)
    likeness = tuple(scores.amax(1).quantile(shares).tolist())
    return Calibration(head, text, deviation, both, likeness, of_head, of_text)


def fit_weights(scores: Tensor, text_logits: Tensor, labels: Tensor, several: Tensor) -> tuple[float, float]:
    """The weights of head and texts with the largest posterior probability.

    Args:
        scores: Standardised scores ``(n, c)``.
        text_logits: Text logits ``(n, c)``.
        labels: Classes ``(n,)``.
        several: Whether the class of each image has several images ``(n,)``. Other images are answered by the text branch alone.
    """
    prior = torch.tensor(PRIOR, dtype=scores.dtype, device=scores.device).log()
    logs = prior.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logs], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        head, text = logs.exp()
        fused = torch.where(several[:, None], head * scores + text * text_logits, text / TOGETHER * text_logits)
        value = F.cross_entropy(fused, labels)
        value = value + PRIOR_WEIGHT * (logs - prior).square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    head, text = logs.detach().exp().tolist()
    return head, text
