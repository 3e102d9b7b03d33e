"""Uneven streams: long-tailed ones, with few images of most classes, and blurry ones, in which known classes get more images.

Long tails decay exponentially (Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, CVPR 2019), with the rare
classes at random places of the stream or all at its end (Liu et al., *Long-Tailed Class Incremental Learning*, ECCV 2022). Blurry
tasks share classes (Bang et al., *Rainbow Memory*, CVPR 2021; Koh et al., *Online Continual Learning on Class Incremental Blurry
Task Configuration*, ICLR 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mgclip.stream.data import Dataset, Split, few_of_each
from mgclip.stream.tasks import Task, join_tasks

RARE, BACK = 1, 2
"""Distinguish what the seed draws here from a shuffled class order, which the same seed draws."""


def shuffled_ranks(classes: int, seed: int) -> list[int]:
    """The classes from the most frequent to the rarest, drawn by the seed."""
    return [int(label) for label in np.random.default_rng((seed, RARE)).permutation(classes)]


def long_tailed(dataset: Dataset, factor: float, ranked: Sequence[int], seed: int) -> Dataset:
    """A data set whose training images per class decay exponentially; its test images stay.

    Args:
        dataset: The data set.
        factor: The largest number of training images of a class over the smallest.
        ranked: The classes from the most frequent to the rarest. Of C classes, the i-th one keeps at most
            ``largest * factor ** (-i / (C - 1))`` images, rounded down, and at least one.
        seed: Decides which images are kept. A smaller factor keeps those of a larger one.
    """
    if factor == 1:
        return dataset
    largest = int(np.bincount(dataset.train.labels).max(initial=0))
    numbers = [1] * len(ranked)
    for place, label in enumerate(ranked):
        kept = largest * factor ** (-place / max(1, len(ranked) - 1))
        numbers[label] = max(1, int(kept + 1e-9))  # 1e-9: powers are not exact
    return replace(dataset, train=few_of_each(dataset.train, numbers, seed))


def blurred(tasks: Sequence[Task], share: float, seed: int) -> list[Task]:
    """A stream in which a share of the training images of each class comes in later tasks.

    The task of each image is drawn from all later ones by the seed. At least one image stays in the task of its class. Classes
    of the last task keep all of theirs.

    Args:
        tasks: All tasks of the stream.
        share: The share of the images that come later, from 0 to 1.
        seed: Decides which images, and when.
    """
    if share == 0:
        return list(tasks)
    rng, together = np.random.default_rng((seed, BACK)), join_tasks(tasks)
    labels, last = together.train.labels, len(tasks) - 1
    of_class = np.repeat(np.arange(len(tasks)), [len(task.names) for task in tasks])
    place = of_class[labels]
    for label in np.flatnonzero(of_class < last):
        own = np.flatnonzero(labels == label)
        moved = rng.permutation(own)[: min(round(share * len(own)), len(own) - 1)]
        place[moved] = rng.integers(of_class[label] + 1, len(tasks), len(moved))
    return [_with_images(task, together.train.take(np.flatnonzero(place == task.index))) for task in tasks]


def _with_images(task: Task, train: Split) -> Task:
    """A task with these training images, labelled with the classes of the stream."""
    returning = np.unique(train.labels[train.labels < task.first])
    own = np.where(
        train.labels < task.first,
        len(task.names) + np.searchsorted(returning, train.labels),
        train.labels - task.first,
    )
    return replace(task, train=replace(train, labels=own), returning=tuple(returning.tolist()))
