"""Calibrated fusion of the solved head and the text branch, so that a probability is the chance to be right (docs/method.md 11).

    log p(c | x) = a s_c / sd + b z_c - log-sum

s are the head's scores, z the text logits, and sd is the standard deviation of the head's leave-one-out scores. a and b are
fitted to learned images, each left out in turn. A prior decides if there is little evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PRIOR = (1.5, 0.3)
"""Weights of head and texts before any evidence."""

PRIOR_WEIGHT = 0.01
"""Weight of the prior: what it costs, in mean log-likelihood per image, if the logarithm of a weight differs from the prior by 1.

It does not fade with more images, because learned images may be easier than future ones, however many there are.
"""

TOGETHER = 0.7
"""Weight of the text branch next to the head, as a share of its weight alone. It is less than 1, because both err on the same
images.
"""

FITTED = 2**24
"""Scores (images times classes) that the weights are fitted to: those of 4,096 images with up to 4,096 classes, of fewer images
with more classes.
"""

BLOCK = 2**22
"""Scores that are computed at a time."""

FIT_BLOCK = 2**20
"""Scores that the fit handles at a time. It makes several copies of them, which should fit into the cache of a processor."""

SHARES = (99, 95, 90)
"""Percentages of images. For each, the likeness that this share of the images reaches is stored."""


class Scores(Protocol):
    """Scores of images over all classes: a tensor ``(n, c)``, or something that computes its rows when they are used."""

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """The scores ``(k, c)`` of the images at positions ``(k,)``."""
        ...


@dataclass(frozen=True)
class LazyScores:
    """Scores that a function computes from the positions ``(k,)`` of images."""

    compute: Callable[[Tensor], Tensor]

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The scores of these images."""
        return self.compute(rows)


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
        return weighted if text_logits is None else weighted.add_(text_logits.to(scores), alpha=self.text)


def fit(
    scores: Scores,
    text_logits: Scores,
    labels: Tensor,
    counts: Tensor,
    *,
    copies: Tensor | None = None,
    text_weight: float | None = None,
) -> Calibration:
    """Fit the weights of both branches to learned images.

    The only image of a class says nothing about the head, which would not know the class without it. The texts would know it, so
    it counts as an image that the text branch answers alone.

    Args:
        scores: Leave-one-out scores of the images over all classes ``(n, c)``.
        text_logits: Their text logits ``(n, c)``.
        labels: Their classes ``(n,)``. The weights are fitted to the first images if there are many classes.
        counts: The number of learned images of each class ``(c,)``.
        copies: How many of the learned images are each image ``(n,)``; None for 1.
        text_weight: The weight of the texts, next to which that of the head is fitted; None fits both.
    """
    first = torch.arange(len(labels), device=labels.device)[: max(1, FITTED // max(1, len(counts)))]
    own = scores[first]
    deviation = own.std().item() if own.numel() > 1 else 1.0
    if len(labels) == 0 or len(counts) < 2 or not deviation > 0:
        text = PRIOR[1] if text_weight is None else text_weight
        return Calibration(text=text, deviation=deviation if deviation > 0 else 1.0)
    several = counts[labels] > (1 if copies is None else copies)
    head, text = fit_weights(own.div_(deviation), text_logits[first], labels[first], several[first], text_weight=text_weight)
    return Calibration(head, text, deviation)


def measured(
    fitted: Calibration, scores: Scores, text_logits: Scores, labels: Tensor, counts: Tensor, *, copies: Tensor | None = None
) -> Calibration:
    """The fitted calibration with what the images say about the model; the arguments are those of ``fit``."""
    images = torch.nonzero(counts[labels] > (1 if copies is None else copies))[:, 0]
    unfitted = fitted == Calibration(text=fitted.text)  # the scores are all the same
    if len(images) == 0 or len(counts) < 2 or unfitted:
        return fitted
    right, likeness = torch.zeros(3, dtype=torch.long), []
    for rows in images.split(max(1, BLOCK // len(counts))):
        own, logits = scores[rows], text_logits[rows]
        likeness.append(own.amax(1))
        answers = (fitted.logits(own, logits), own, logits)
        right += torch.tensor([int((values.argmax(1) == labels[rows]).sum()) for values in answers])
    both, of_head, of_text = (right.double() / len(images)).tolist()
    shares = torch.tensor([1 - share / 100 for share in SHARES], dtype=likeness[0].dtype, device=likeness[0].device)
    reached = tuple(torch.cat(likeness).quantile(shares).tolist())
    return replace(fitted, accuracy=both, likeness=reached, head_accuracy=of_head, text_accuracy=of_text)


def by_share(likeness: Sequence[float]) -> dict[str, float]:
    """The likeness that each of ``SHARES`` reaches, by percentage; empty without evidence."""
    return dict(zip(map(str, SHARES), likeness, strict=False))


def fit_weights(
    scores: Tensor, text_logits: Tensor, labels: Tensor, several: Tensor, *, text_weight: float | None = None
) -> tuple[float, float]:
    """The weights of head and texts with the largest posterior probability.

    Args:
        scores: Standardised scores ``(n, c)``.
        text_logits: Text logits ``(n, c)``.
        labels: Classes ``(n,)``.
        several: Whether the class of each image has several images ``(n,)``. Other images are answered by the text branch alone.
        text_weight: The weight of the texts, next to which only that of the head is fitted; None fits both.
    """
    from scipy.optimize import minimize

    given = [] if text_weight is None else [text_weight]
    prior = np.log(PRIOR[: len(PRIOR) - len(given)])
    blocks = [part.split(max(1, FIT_BLOCK // scores.shape[1])) for part in (scores, text_logits, labels, several)]

    def loss(logs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The negative logarithm of the posterior probability, and its gradient in the logarithms of the fitted weights."""
        head, text = torch.from_numpy(np.append(np.exp(logs), given)).to(scores.device)
        value, slope = torch.zeros_like(head), torch.zeros(2, dtype=head.dtype, device=head.device)
        for own, texts, truth, learned in zip(*blocks, strict=True):
            parts = own.double(), texts.double()
            weights = torch.where(learned, head, 0 * head), torch.where(learned, text, text / TOGETHER)
            fused = weights[0][:, None] * parts[0] + weights[1][:, None] * parts[1]
            rows, total = torch.arange(len(fused), device=fused.device), fused.logsumexp(1)
            value += (total - fused[rows, truth]).sum()
            shares = (fused - total[:, None]).exp_()
            for place, (weight, part) in enumerate(zip(weights, parts, strict=True)):
                slope[place] += weight @ (torch.linalg.vecdot(shares, part) - part[rows, truth])
        offset = logs - prior
        gradient = slope.cpu().numpy()[: len(logs)] / len(labels) + 2 * PRIOR_WEIGHT * offset
        return value.item() / len(labels) + PRIOR_WEIGHT * float(offset @ offset), gradient

    found = minimize(loss, prior, jac=True, method="BFGS", options={"gtol": 1e-9})
    head, text = np.append(np.exp(found.x), given).tolist()
    return head, text
