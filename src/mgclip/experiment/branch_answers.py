"""Answers of a learner for test images, and what each of its branches answers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgclip.experiment.schemas import NEXT
from mgclip.method.baselines.make import Learner

Labels = NDArray[np.int64]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class BranchAnswers:
    """Answers for ``n`` images, each array ``(n,)`` if not stated otherwise.

    Attributes:
        labels: The answers.
        probabilities: Their probabilities.
        text_labels: The answers of the text branch alone.
        text_probabilities: Their probabilities in that branch.
        head_labels: The answers of the head alone; None if the method has none.
        head_scores: Their scores.
        next_labels: The classes that come after the answer, the most probable first ``(n, NEXT)``; -1 if there are fewer classes.
        next_probabilities: Their probabilities ``(n, NEXT)``; NaN if there are fewer classes.
    """

    labels: Labels
    probabilities: Scores
    text_labels: Labels
    text_probabilities: Scores
    head_labels: Labels | None
    head_scores: Scores | None
    next_labels: Labels
    next_probabilities: Scores


@torch.no_grad()
def answer(learner: Learner, features: Tensor, text_logits: Tensor, among: slice = slice(None)) -> BranchAnswers:
    """The answers for images.

    Args:
        learner: The learner.
        features: Their features ``(n, d)``.
        text_logits: Their text logits ``(n, c)`` over the classes that compete.
        among: These classes among all that are learned.
    """
    probabilities = learner.probabilities(features, among)
    both = probabilities.max(1)
    text = text_logits.softmax(-1).max(1)
    head = learner.head_scores(features)[:, among].max(1) if learner.settings.uses_head else None
    head_labels, head_scores = (None, None) if head is None else _pair(head.indices, head.values)
    return BranchAnswers(
        *_pair(both.indices, both.values),
        *_pair(text.indices, text.values),
        *(head_labels, head_scores),
        *next_best(probabilities, both.indices),
    )


def next_best(probabilities: Tensor, best: Tensor) -> tuple[Labels, Scores]:
    """The classes after the ``best`` ``(n,)`` ones and their probabilities, as ``BranchAnswers`` has them, from the probabilities
    ``(n, c)`` of all classes.
    """
    others = probabilities.scatter(1, best[:, None], -1.0)
    found = others.topk(min(NEXT, others.shape[1] - 1), dim=1)
    labels, values = _pair(found.indices, found.values)
    missing = ((0, 0), (0, NEXT - labels.shape[1]))
    return np.pad(labels, missing, constant_values=-1), np.pad(values, missing, constant_values=np.nan)


def join(parts: Sequence[BranchAnswers]) -> BranchAnswers:
    """The answers for all images of several parts."""
    columns: dict[str, list[Any]] = {field.name: [getattr(part, field.name) for part in parts] for field in fields(BranchAnswers)}
    joined: dict[str, Any] = {name: None if found[0] is None else np.concatenate(found) for name, found in columns.items()}
    return BranchAnswers(**joined)


def _pair(labels: Tensor, values: Tensor) -> tuple[Labels, Scores]:
    return labels.cpu().numpy(), values.float().cpu().numpy()
