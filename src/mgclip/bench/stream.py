"""The time of a stream, composed from the times of its units of work (docs/performance.md).

A unit is one image, one text or one step of the head. The functions below state how often each one runs.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

HEAD_BATCH = 64
"""Images of a step of the head."""


@dataclass(frozen=True)
class Stream:
    """The size of a stream. All tasks have the same size."""

    tasks: int = 10
    classes: int = 10
    train_per_class: int = 500
    test_per_class: int = 100
    epochs: int = 1
    batch: int = 128
    head_epochs: int = 3
    encode_batch: int = 128

    @property
    def images(self) -> int:
        """Training images of a task."""
        return self.classes * self.train_per_class

    def tested(self, task: int) -> int:
        """Test images that are evaluated after task 0, 1, ...: those of the tasks so far, and of the next one for FWT."""
        return self.classes * self.test_per_class * min(task + 2, self.tasks)


@dataclass(frozen=True)
class Units:
    """Seconds per unit of work: an image or a text in training (forward and backward), or only encoded; a step of the head."""

    image_trained: float
    image: float
    texts_trained: float
    texts: float
    head: float


class Comparison(TypedDict):
    """Seconds of this package and of the naive implementation, and the ratio: medians over rounds."""

    ours: float
    plain: float
    ratio: float


def steps(items: int, batch: int) -> int:
    """Number of batches."""
    return -(-items // batch)


def task_seconds(stream: Stream, units: Units, task: int) -> dict[str, float]:
    """Seconds of each phase of task 0, 1, ...

    Each training image passes E times for training and once for the head, with the texts of the task only. Each test image and
    each text passes once.
    """
    n = stream.images
    training_steps = stream.epochs * steps(n, stream.batch)
    return {
        "adapter": stream.epochs * n * units.image_trained + training_steps * stream.classes * units.texts_trained,
        "head": n * units.image + stream.head_epochs * steps(n, HEAD_BATCH) * units.head,
        "evaluation": stream.tested(task) * units.image + stream.classes * stream.tasks * units.texts,
    }


def naive_task_seconds(stream: Stream, units: Units, task: int) -> dict[str, float]:
    """The same for the naive implementation.

    It measures the gap before every task, encodes all seen texts in each step and each evaluation batch, and encodes the images
    again for the class means and in each epoch of the head.
    """
    n, seen = stream.images, stream.classes * (task + 1)
    training_steps = steps(n, stream.batch)
    evaluated = (task + 1) * steps(stream.classes * stream.test_per_class, stream.encode_batch)
    return {
        "origin": n * units.image + training_steps * seen * units.texts,
        "adapter": stream.epochs * (n * units.image_trained + training_steps * seen * units.texts_trained),
        "head": (1 + stream.head_epochs) * n * units.image + stream.head_epochs * steps(n, HEAD_BATCH) * units.head,
        "evaluation": stream.tested(task) * units.image + evaluated * seen * units.texts,
    }


def compose(stream: Stream, rounds: Sequence[tuple[Units, Units]]) -> dict[str, Comparison]:
    """The complete stream, its last task, and a training step of that task, from the units of this package and of the naive
    implementation in each round.
    """
    found: dict[str, list[tuple[float, float]]] = {"stream": [], "last task": [], "training step of the last task": []}
    batch, seen = min(stream.batch, stream.images), stream.classes * stream.tasks
    for own, naive in rounds:
        tasks = [
            (sum(task_seconds(stream, own, t).values()), sum(naive_task_seconds(stream, naive, t).values()))
            for t in range(stream.tasks)
        ]
        found["stream"].append((sum(a for a, _ in tasks), sum(b for _, b in tasks)))
        found["last task"].append(tasks[-1])
        step = batch * own.image_trained + stream.classes * own.texts_trained
        naive_step = batch * naive.image_trained + seen * naive.texts_trained
        found["training step of the last task"].append((step, naive_step))
    return {
        name: {
            "ours": statistics.median(a for a, _ in pairs),
            "plain": statistics.median(b for _, b in pairs),
            "ratio": statistics.median(b / a for a, b in pairs),
        }
        for name, pairs in found.items()
    }
