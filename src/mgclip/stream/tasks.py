"""Split a data set into tasks: B0-IncN and BM-IncN (docs/method.md 1)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

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
        train: Training images; labels ``(n,)`` are positions in ``names``, followed by ``returning``.
        test: Test images, labelled in the same way.
        sources: The data set of each class, if the stream consists of several.
        returning: The stream's labels of earlier classes that have images among the training images.
    """

    index: int
    first: int
    names: tuple[str, ...]
    texts: tuple[str, ...]
    train: Split
    test: Split
    sources: tuple[str, ...] = ()
    returning: tuple[int, ...] = ()

    @property
    def train_labels(self) -> NDArray[np.int64]:
        """The stream's label of each training image."""
        own: NDArray[np.int64] = np.array([*range(self.first, self.first + len(self.names)), *self.returning], dtype=np.int64)
        return own[self.train.labels]

    @property
    def test_labels(self) -> NDArray[np.int64]:
        """The stream's label of each test image."""
        return self.test.labels + self.first


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
                raise InputError(f"The class {name!r} of {dataset.name} has no training image: add some, or leave the class out.")
        if len(test.labels) == 0:
            raise InputError(f"Task {index + 1} of {dataset.name} ({', '.join(own[:3])}) has no test image: add some.")
        tasks.append(Task(index, first, own, texts, train, test, tuple(sources[c] for c in classes) if sources else ()))
        first += size
    return tasks


def join_tasks(tasks: Sequence[Task]) -> Task:
    """Merge all tasks of a stream into one."""
    names = tuple(name for task in tasks for name in task.names)
    texts = tuple(text for task in tasks for text in task.texts)
    train = _join([Split(task.train.images, task.train_labels) for task in tasks])
    test = _join([Split(task.test.images, task.test_labels) for task in tasks])
    sources = tuple(source for task in tasks for source in task.sources)
    return Task(0, 0, names, texts, train, test, sources)


def trained_classes(stream: Sequence[Task], task: Task) -> tuple[list[str], dict[str, str]]:
    """The name of the class of each training image of a task; and the names of these classes with what prompts call them, those
    of the task first.
    """
    called = [pair for each in stream for pair in zip(each.names, each.texts, strict=True)]
    labels = task.train_labels
    returning = [label for label in task.returning if label in labels]  # an unreadable image may have been the only one
    classes = dict(called[label] for label in [*range(task.first, task.first + len(task.names)), *returning])
    return [called[label][0] for label in labels], classes


class TaskFacts(TypedDict):
    """Training images of each class of a task in it, those of earlier classes that come back in it, and its test images."""

    classes: dict[str, int]
    returning: dict[str, int]
    test_images: int


def describe_task(stream: Sequence[Task], task: Task) -> TaskFacts:
    """The classes and the numbers of images of a task."""
    labels, classes = trained_classes(stream, task)
    images = Counter(labels)
    own, back = ({name: images[name] for name in classes if (name in task.names) == new} for new in (True, False))
    return {"classes": own, "returning": back, "test_images": len(task.test.labels)}


def training_counts(stream: Sequence[Task]) -> NDArray[np.int64]:
    """The number of training images of each class, in all tasks of a stream."""
    return np.bincount(np.concatenate([task.train_labels for task in stream]), minlength=sum(len(task.names) for task in stream))


def _join(splits: Sequence[Split]) -> Split:
    """Merge subsets of one split, in the order of the data set."""
    subsets = [split.images for split in splits if isinstance(split.images, Subset)]
    positions = np.concatenate([subset.positions for subset in subsets])
    labels = np.concatenate([split.labels for split in splits])
    order = np.argsort(positions)
    return Split(Subset(subsets[0].items, positions[order]), labels[order])


def unique_names(names: Sequence[str]) -> list[str]:
    """Make names unique. ImageNet-1K has two classes *missile* and two *sunglasses*: the second becomes ``missile #2``."""
    used: set[str] = set()
    unique = []
    for name in names:
        numbered = (f"{name} #{number}" for number in itertools.count(2))
        unique.append(next(each for each in itertools.chain([name], numbered) if canonical(each) not in used))
        used.add(canonical(unique[-1]))
    return unique


def _select(split: Split, classes: Sequence[int]) -> Split:
    new_label = np.full(max(int(split.labels.max(initial=0)), *classes) + 1, -1, dtype=np.int64)
    new_label[list(classes)] = np.arange(len(classes))
    labels: NDArray[np.int64] = new_label[split.labels]
    return Split(split.images, labels).take(np.flatnonzero(labels >= 0))
