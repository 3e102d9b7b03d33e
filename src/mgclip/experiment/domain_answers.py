"""Answers in a stream of several data sets, where classes that are not learned yet compete as well (docs/recipes.md).

A test image competes among all classes of the stream (X-TAIL), or among those of its own data set if that is known (MTIL). The
text branch decides first whether an image belongs to a learned class. If so, the method answers among its learned classes, and
otherwise the text branch does. This is the order of decisions in the publication of X-TAIL (RAIL).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mgclip.experiment.branch_answers import BranchAnswers, Labels, answer, join, next_best
from mgclip.method.baselines.make import Learner
from mgclip.stream.domains import Domain
from mgclip.stream.tasks import Task


@torch.no_grad()
def answer_in_domains(
    learner: Learner,
    features: Tensor,
    labels: Tensor,
    texts: Sequence[str],
    domains: Sequence[Domain],
    task_known: bool,
) -> BranchAnswers:
    """The answers for images, which are in the order of their data sets.

    Args:
        learner: The learner.
        features: The features of the images ``(n, d)``.
        labels: Their labels in the stream ``(n,)``, of learned classes or not.
        texts: What prompts call the classes of the stream, in the order in which they are learned.
        domains: The data sets of the stream.
        task_known: Whether the data set of an image is known.
    """
    parts = []
    for domain in domains:
        own = (labels >= domain.first) & (labels < domain.end)
        if own.any():
            competing = range(domain.first, domain.end) if task_known else range(len(texts))
            parts.append(_answer_among(learner, features[own], texts, competing))
    return join(parts)


def _answer_among(learner: Learner, features: Tensor, texts: Sequence[str], competing: range) -> BranchAnswers:
    """The answers for images among some classes of the stream, of which the first ones may have been learned."""
    first, known = competing.start, max(0, min(competing.stop, len(learner.class_names)) - competing.start)
    logits = learner.text_logits(features, texts)[:, first : competing.stop]
    probabilities = logits.softmax(-1)
    best = probabilities.max(1)
    by_text, text_probabilities = best.indices.cpu().numpy(), best.values.float().cpu().numpy()
    text_labels = by_text + first
    after, after_probabilities = next_best(probabilities, best.indices)
    after = _shifted(after, first)
    if not known:
        text = text_labels, text_probabilities
        return BranchAnswers(*text, *text, None, None, after, after_probabilities)
    learned = answer(learner, features, logits[:, :known], slice(first, first + known))
    unseen = by_text >= known
    return replace(
        learned,
        labels=np.where(unseen, text_labels, learned.labels + first),
        probabilities=np.where(unseen, text_probabilities, learned.probabilities),
        text_labels=text_labels,
        text_probabilities=text_probabilities,
        head_labels=None if learned.head_labels is None else learned.head_labels + first,
        next_labels=np.where(unseen[:, None], after, _shifted(learned.next_labels, first)),
        next_probabilities=np.where(unseen[:, None], after_probabilities, learned.next_probabilities),
    )


def _shifted(labels: Labels, first: int) -> Labels:
    """Labels among the classes from ``first`` on as labels in the stream; -1 stays."""
    return np.where(labels < 0, labels, labels + first)


def accuracy_per_domain(domains: Sequence[Domain], stream: Sequence[Task], answers: Sequence[BranchAnswers]) -> dict[str, float]:
    """The accuracy on the test images of each data set, from the answers for those of every task of the stream."""
    truth = np.concatenate([task.test_labels for task in stream])
    right = truth == np.concatenate([each.labels for each in answers])
    return {each.name: float(right[(truth >= each.first) & (truth < each.end)].mean()) for each in domains}
