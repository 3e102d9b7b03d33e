"""One task as tensors, all of it checked before anything is learned from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mgclip.clip.pixels import Pixels
from mgclip.errors import InputError
from mgclip.names import check_alike, same


@dataclass(frozen=True)
class TaskData:
    """One task while it is learned: ``labels`` ``(n,)`` are positions in ``names``, the task's own classes; ``texts`` is what a
    prompt calls them.
    """

    index: int
    pixels: Pixels
    labels: Tensor
    names: tuple[str, ...]
    texts: tuple[str, ...]


def make_task(
    pixels: Pixels,
    labels: ArrayLike,
    class_names: Sequence[str],
    *,
    index: int,
    known: Sequence[str],
    class_texts: Sequence[str] | None = None,
) -> TaskData:
    """A task of images, labels (positions in ``class_names``, or names of it) and class names.

    ``known``: the classes learned so far; ``class_texts``: what a prompt calls the classes, their names if not given. Raises
    ``InputError`` for a class without a name, without an image, named twice or learned before, and for labels that fit neither
    images nor names.
    """
    names = tuple(str(name) for name in class_names)
    if not names:
        raise InputError("There is no class to learn: class_names is empty.")
    if blank := [name for name in names if not name.strip()]:
        raise InputError(f"A class needs a name; found {blank[0]!r}.")
    counted = Counter(map(same, names))
    if twice := [name for name in names if counted[same(name)] > 1]:
        raise InputError(f"The class {twice[0]!r} is named twice in this task: give every class one name of its own.")
    before = set(map(same, known))
    if again := [name for name in names if same(name) in before]:
        raise InputError(f"The class {again[0]!r} was learned before: leave it out, or give the new one another name.")
    check_alike(names, known)
    positions = _positions(labels, names)
    if len(positions) != len(pixels):
        raise InputError(f"Each image needs a label: found {len(pixels)} images and {len(positions)} labels.")
    texts = names if class_texts is None else tuple(str(text) for text in class_texts)
    if len(texts) != len(names):
        raise InputError(f"Each class needs a text: found {len(names)} class_names and {len(texts)} class_texts.")
    counts = torch.bincount(positions, minlength=len(names))
    if empty := [name for name, count in zip(names, counts.tolist(), strict=True) if count == 0]:
        raise InputError(f"The class {empty[0]!r} has no image: give it at least one, or leave its name out.")
    return TaskData(index, pixels, positions, names, texts)


def _positions(labels: ArrayLike, names: tuple[str, ...]) -> Tensor:
    """Labels given as positions or as names -> positions ``(n,)``. Raises ``InputError`` for a label without a name."""
    array = np.asarray(labels)
    if array.ndim != 1:
        raise InputError(f"labels must be a flat list, one per image; found an array of shape {array.shape}.")
    if array.dtype.kind in "US" or (array.dtype.kind == "O" and all(isinstance(label, str) for label in array)):
        place = {same(name): position for position, name in enumerate(names)}
        if unknown := [str(label) for label in array if same(str(label)) not in place]:
            raise InputError(f"The label {unknown[0]!r} is not among the {len(names)} names in class_names.")
        return torch.tensor([place[same(str(label))] for label in array], dtype=torch.long)
    if array.dtype.kind not in "iu" and array.size:
        raise InputError(f"labels must be whole numbers or class names; found {array.dtype}.")
    if array.size and (array.min() < 0 or array.max() >= len(names)):
        wrong = int(array.min() if array.min() < 0 else array.max())
        raise InputError(f"The label {wrong} has no name: class_names holds {len(names)} (0 to {len(names) - 1}).")
    return torch.from_numpy(array.astype(np.int64))
