"""Split a data set into tasks: B0-IncN and BM-IncN (docs/method.md 1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mgclip.errors import InputError
from mgclip.names import canonical
from mgclip.stream.data import Dataset, Split, Subset
from mgclip.words import count


@dataclass(frozen=True)
class Task:
    """One task of a stream.

    Attributes:
        index: Its position in the stream, from 0.
        first: The stream's label of its first class; the label of a class in the run is ``first`` plus its position.
        names: Names of its classes, unique in the stream.
        texts: What prompts call them.
        train: Training images; labels ``(n,)`` are positions in ``names``.
        test: Test images, labelled in the same way.
        sources: The data set of each class, if the stream consists of several.
    """

    index: int
    first: int
    names: tuple[str, ...]
    texts: tuple[str, ...]
    train: Split
    test: Split
    sources: tuple[str, ...] = ()


def task_sizes(classes: int, *, initial: int, increment: int) -> list[int]:
    """Classes per task: ``initial`` in the first (0: as in the others), then ``increment`` each; the last task takes the rest.
    Raises ``InputError`` if the first task needs more classes than there are.
    """
    first = initial or increment
    if first > classes:
        key = "initial_classes" if initial else "classes_per_task"
        raise InputError(f"The first task needs {count(first, 'class', 'classes')}; the data has {classes}: lower {key}.")
    sizes = [first]
    while (left := classes - sum(sizes)) > 0:
        sizes.append(min(increment, left))
    return sizes


def make_tasks(
    dataset: Dataset,
    order: Sequence[int],
    sizes: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
) -> list[Task]:
    """Split a data set into the tasks of a stream. The images of a task are in the order of the data set.

    Args:
        dataset: The data set.
        order: The class at each position of the stream.
        sizes: The number of classes of each task.
        names: Unique names of all classes; None makes those of the data set unique.
        sources: The data set that each class comes from, if there are several.

    Raises:
        InputError: If a class has no training image, or a task no test image.
    """
    tasks, first = [], 0
    unique = unique_names(dataset.class_names) if names is None else names
    for index, size in enumerate(sizes):
        classes = list(order[first : first + size])
        own, texts = tuple(unique[c] for c in classes), tuple(dataset.class_names[c] for c in classes)
        train, test = _select(dataset.train, classes), _select(dataset.test, classes)
        for name, images in zip(own, np.bincount(train.labels, minlength=size), strict=True):
            if images == 0:
                raise InputError(f"The class {name!r} of {dataset.name} has no training image.")
        if len(test.labels) == 0:
            raise InputError(f"Task {index + 1} of {dataset.name} ({', '.join(own[:3])}) has no test image.")
        tasks.append(Task(index, first, own, texts, train, test, tuple(sources[c] for c in classes) if sources else ()))
        first += size
    return tasks


def join_tasks(tasks: Sequence[Task]) -> Task:
    """Merge all tasks of a stream into one."""
    names = tuple(name for task in tasks for name in task.names)
    texts = tuple(text for task in tasks for text in task.texts)
    train, test = ([getattr(task, part) for task in tasks] for part in ("train", "test"))
    firsts = [task.first for task in tasks]
    sources = tuple(source for task in tasks for source in task.sources)
    return Task(0, 0, names, texts, _join(train, firsts), _join(test, firsts), sources)


def _join(splits: Sequence[Split], firsts: Sequence[int]) -> Split:
    """Merge subsets of one split, in the order of the data set."""
    subsets = [split.images for split in splits if isinstance(split.images, Subset)]
    positions = np.concatenate([subset.positions for subset in subsets])
    labels = np.concatenate([split.labels + first for split, first in zip(splits, firsts, strict=True)])
    order = np.argsort(positions)
    return Split(Subset(subsets[0].items, positions[order]), labels[order])


def unique_names(names: Sequence[str]) -> list[str]:
    """Make names unique. ImageNet-1K has two classes *missile* and two *sunglasses*: the second becomes ``missile #2``."""
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[canonical(name)] += 1
        number = seen[canonical(name)]
        unique.append(name if number == 1 else f"{name} #{number}")
    return unique


def _select(split: Split, classes: Sequence[int]) -> Split:
    new_label = np.full(int(max(split.labels.max(initial=0), *classes)) + 1, -1, dtype=np.int64)
    new_label[list(classes)] = np.arange(len(classes))
    labels: NDArray[np.int64] = new_label[split.labels]
    return Split(split.images, labels).take(np.flatnonzero(labels >= 0))
