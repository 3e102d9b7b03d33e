"""One task as tensors, checked completely before anything is learned from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mgclip.clip.pixels import PreparedImages
from mgclip.errors import InputError
from mgclip.method.labels import name_list, positions, text_list
from mgclip.names import canonical, check_distinguishable, indices_of
from mgclip.words import count


@dataclass(frozen=True)
class TaskData:
    """One task: ``labels`` ``(n,)`` are positions in ``names``, its classes; ``texts`` are what prompts call them."""

    index: int
    pixels: PreparedImages
    labels: Tensor
    names: tuple[str, ...]
    texts: tuple[str, ...]

    def new_classes(self, known: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names and texts of its classes that are not among those ``known`` already."""
        new = [place for place, position in enumerate(indices_of(self.names, known)) if position is None]
        return tuple(self.names[place] for place in new), tuple(self.texts[place] for place in new)

    def places_among(self, names: Sequence[str]) -> Tensor:
        """The position of each of its classes among all ``names``, ``(k,)``."""
        return torch.tensor(indices_of(self.names, names))

    def facts(self) -> tuple[object, ...]:
        """What identifies this task: its classes, its labels, and its first and last image."""
        return self.names, self.texts, self.labels.tolist(), *self.pixels.facts()


def make_task(
    pixels: PreparedImages,
    labels: ArrayLike,
    class_names: Sequence[str],
    *,
    index: int,
    known: Sequence[str],
    class_texts: Sequence[str] | Mapping[str, str] | None = None,
    grows: bool = False,
) -> TaskData:
    """A task of images, labels and class names.

    Args:
        pixels: The images.
        labels: For each image a name of ``class_names``, or its position there.
        class_names: The task's classes.
        index: Number of the task.
        known: The classes learned so far.
        grows: Whether known classes may have more images.
        class_texts: What a prompt calls the classes: a list in the order of ``class_names``, or a mapping by class name.
            A class without a text is called by its name.

    Returns:
        The task.

    Raises:
        InputError: If a class has no name or no image, is named twice or was learned before; if labels, images and names do
            not match; or if whole-number labels are names and positions of different classes.
    """
    names = name_list(class_names)
    if not names:
        raise InputError("There is no class to learn: class_names is empty.")
    counted, learned = Counter(map(canonical, names)), set(map(canonical, known))
    if twice := [name for name in names if counted[canonical(name)] > 1]:
        raise InputError(f"The class {twice[0]!r} is named twice in this task: give every class one name of its own.")
    again = [name for name in names if canonical(name) in learned]
    if again and not grows:
        raise InputError(
            f"The class {again[0]!r} was learned before, and a trained head cannot grow: leave it out, give the new class "
            "another name, forget the learned one first, or use a model with analytic compensation."
        )
    check_distinguishable([name for name in names if canonical(name) not in learned], known)
    labelled = positions(labels, names)
    if len(labelled) != len(pixels):
        raise InputError(f"Each image needs a label: found {count(len(pixels), 'image')} and {count(len(labelled), 'label')}.")
    texts = text_list(class_texts, names)
    images = torch.bincount(labelled, minlength=len(names)).tolist()
    if empty := [name for name, number in zip(names, images, strict=True) if number == 0]:
        raise InputError(f"The class {empty[0]!r} has no image: give it at least one, or leave its name out.")
    return TaskData(index, pixels, labelled, names, texts)
