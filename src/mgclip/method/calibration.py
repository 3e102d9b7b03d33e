"""Calibrated fusion: one probability from the solved head and the text branch, meant to be read (docs/method.md 11).

    log p(c | x) = a s_c / sd + b z_c - log-sum

with the head's scores s, the text logits z, and sd the standard deviation of the head's leave-one-out scores. a and b are fitted
on the current task, around a prior that decides if there is little evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PRIOR = (1.5, 0.3)
"""Weights of head and texts before any evidence."""

PRIOR_WEIGHT = 5.0
"""Weight of the prior, in images' log-likelihood for one squared unit of a weight's logarithm."""


@dataclass(frozen=True)
class Calibration:
    """The weights of both branches.

    Attributes:
        head: a, the weight of the head's standardised scores.
        text: b, the weight of the text logits.
        deviation: sd, the standard deviation of the head's leave-one-out scores.
        images: The images the weights were fitted on, all tasks together.
    """

    head: float = PRIOR[0]
    text: float = PRIOR[1]
    deviation: float = 1.0
    images: float = 0.0

    def logits(self, scores: Tensor, text_logits: Tensor) -> Tensor:
        """Logits ``(b, c)`` of the fused prediction, from the head's scores and the text logits, both ``(b, c)``."""
        return self.head / self.deviation * scores + self.text * text_logits.to(scores)

    def updated(self, scores: Tensor, text_logits: Tensor, labels: Tensor, counts: Tensor) -> Calibration:
        """The calibration after one more task: the mean of its weights and the earlier ones, weighted by images.

        Args:
            scores: Leave-one-out scores of the task's images over all classes so far, ``(n, c)``.
            text_logits: Their text logits, from before the task was learned, ``(n, c)``.
            labels: Their classes, ``(n,)``.
            counts: Images of each class, ``(c,)``. The only image of a class says nothing about the head.
        """
        deviation = scores.std().item() or 1.0
        used = counts[labels] > 1
        if not used.any() or scores.shape[1] < 2:
            return Calibration(self.head, self.text, deviation, self.images)
        head, text = fit_weights(scores[used] / deviation, text_logits[used].to(scores), labels[used])
        new = float(used.sum())
        share = new / (self.images + new)
        head, text = (
            now**share * past ** (1 - share) for now, past in ((head, self.head), (text, self.text))
        )  # the mean of logarithms
        return Calibration(head, text, deviation, self.images + new)


def fit_weights(scores: Tensor, text_logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """The weights of largest posterior probability, given standardised scores and text logits ``(n, c)`` and labels ``(n,)``."""
    prior = torch.tensor(PRIOR, dtype=scores.dtype, device=scores.device).log()
    logs = prior.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logs], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        head, text = logs.exp()
        likelihood = F.cross_entropy(head * scores + text * text_logits, labels, reduction="sum")
        value = (likelihood + PRIOR_WEIGHT * (logs - prior).square().sum()) / len(labels)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    head, text = logs.detach().exp().tolist()
    return head, text
