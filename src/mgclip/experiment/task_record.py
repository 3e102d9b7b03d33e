"""Evaluate a learner after a task, as the task's record (docs/method.md 3, 9)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mgclip.experiment.branch_answers import BranchAnswers, answer, join
from mgclip.experiment.domain_answers import accuracy_per_domain, answer_in_domains
from mgclip.experiment.measured_images import MeasuredImages
from mgclip.experiment.metrics import by_shots
from mgclip.experiment.schemas import AdapterDecision, Measured, Shots, Trained
from mgclip.method.baselines.make import Learner
from mgclip.method.gap import similarities
from mgclip.method.preservation import LearnResult
from mgclip.stream.domains import domains_of
from mgclip.stream.tasks import Task, training_counts


@torch.no_grad()
def evaluate(
    learner: Learner, stream: Sequence[Task], task: Task, tests: Sequence[MeasuredImages], *, task_known: bool = False
) -> tuple[Measured, BranchAnswers]:
    """Evaluate a learner after a task.

    Args:
        learner: The learner.
        stream: All tasks.
        task: The task that it has just learned.
        tests: The test images of each task of the stream.
        task_known: In a stream of several data sets, only classes of its own data set compete for an image.

    Returns:
        The measurements (accuracy on every task so far, the gap on their test images, zero-shot accuracy on the next task), and
        the answers from which they were computed.
    """

    def features(which: Task) -> tuple[Tensor, Tensor]:
        encoded = tests[which.index].features(learner)
        return encoded, torch.from_numpy(which.test_labels).to(encoded.device)

    for each in stream:  # always one task at a time, because a batch of another size rounds differently
        learner.encoder.texts(each.texts)
    texts, domains = [text for each in stream for text in each.texts], domains_of(stream)
    in_domains = partial(answer_in_domains, learner, texts=texts, domains=domains, task_known=task_known)
    accuracies, right, images, gaps, answers = [], 0, 0, [], []
    for earlier in stream[: task.index + 1]:
        encoded, labels = features(earlier)
        logits = learner.text_logits(encoded, learner.class_texts)
        answers.append(in_domains(encoded, labels) if domains else answer(learner, encoded, logits))
        hits = int((answers[-1].labels == labels.cpu().numpy()).sum())
        accuracies.append(hits / len(labels) if len(labels) else 0.0)
        right, images = right + hits, images + len(labels)
        if len(learner.class_names) > 1:
            gaps.append(torch.stack(similarities(logits, labels)))
    positive, negative = torch.cat(gaps, 1).mean(1).tolist() if gaps else (None, None)
    next_task, following = None, stream[task.index + 1 :]
    later = [in_domains(*features(each)) for each in following] if domains else []
    if later:
        next_task = float(np.mean(later[0].text_labels == following[0].test_labels))
    elif following:
        encoded, labels = features(following[0])
        next_task = float((learner.text_logits(encoded, texts).argmax(1) == labels).double().mean())
    measured: Measured = {
        "task": task.index,
        "classes": list(task.names),
        "classes_seen": len(learner.class_names),
        "train_images": len(task.train.labels),
        "test_images": len(task.test.labels),
        "accuracy": right / images,
        "accuracy_per_task": accuracies,
        "next_task_text_accuracy": next_task,
        "gap": {"positive": positive, "negative": negative},
    }
    if task.returning:
        measured["returning_images"] = int((task.train.labels >= len(task.names)).sum())
    if domains:
        measured["domain"] = task.sources[-1]
        measured["accuracy_per_domain"] = accuracy_per_domain(domains, stream, [*answers, *later])
    return measured, join(answers)


def shots(stream: Sequence[Task], task: Task, answers: BranchAnswers) -> Shots:
    """The accuracy of classes with many, medium and few training images, from the answers of ``evaluate`` after a task."""
    truth = np.concatenate([each.test_labels for each in stream[: task.index + 1]])
    found = by_shots(training_counts(stream), truth, answers.labels == truth)
    return {"many": found["many"], "medium": found["medium"], "few": found["few"]}


def trained(learned: LearnResult) -> Trained:
    """The part of a record about training: the epochs, the gaps that the probe measured, and what was decided about adapters and
    image features.
    """
    record: Trained = {"epochs": learned.epochs}
    if learned.probe is not None:
        gaps = [learned.probe.initial, *learned.probe.after_epoch]
        positive, negative = [gap.positive for gap in gaps], [gap.negative for gap in gaps]
        record["probe"] = {"positive": positive, "negative": negative, "epochs": learned.probe.epochs}
    if (decision := adapter_decision(learned)) is not None:
        record["adapters"] = decision
    if learned.representation is not None:
        record["representation"] = learned.representation
    return record


def adapter_decision(learned: LearnResult) -> AdapterDecision | None:
    """What was decided about the adapters before a task, for records and notes; None if there was nothing to decide."""
    if (found := learned.adapters) is None:
        return None
    return {"kept": found.kept, "images": found.images, "deviations": found.deviations}
