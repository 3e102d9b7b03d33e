"""Check the parts of a data set that a function of any package returned, before anything uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mgclip.stream.data import Dataset, Split
from mgclip.stream.own_images import Naming, naming_own


def checked_parts(dataset: Dataset, naming: Naming) -> Dataset:
    """The data set with a tuple of class names, images that are looked up by their number, and labels as arrays of int64. Raises
    ``TypeError`` or ``ValueError`` if one of its parts is something else, or the labels of a part do not fit its images or the
    classes. Errors of an image that is opened later get the name of the data set from ``naming``.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"expected a Dataset; found {type(dataset).__name__}")
    given = dataset.class_names
    names = () if isinstance(given, str) else tuple(given)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"expected a tuple of texts as class_names; found {given!r}")
    train, test = (
        _checked(split, part, len(names), naming) for part, split in (("train", dataset.train), ("test", dataset.test))
    )
    return replace(dataset, class_names=names, train=train, test=test)


def _checked(split: Split, part: str, classes: int, naming: Naming) -> Split:
    if not isinstance(split, Split):
        raise TypeError(f"expected a Split as {part}; found {type(split).__name__}")
    images = _by_number(split.images, part)
    labels = np.asarray(split.labels)
    if labels.shape != (0,) and (labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer)):
        raise TypeError(
            f"expected whole numbers in one dimension as labels of {part}; found {labels.dtype} in the shape {labels.shape}"
        )
    if len(images) != len(labels):
        raise ValueError(f"expected one label for each image of {part}; found {len(images)} images, {len(labels)} labels")
    if wrong := [int(label) for label in (labels.min(initial=0), labels.max(initial=0)) if not 0 <= label < classes]:
        raise ValueError(f"expected labels of {part} from 0 to {classes - 1}; found {wrong[0]}")
    return Split(naming_own(images, part, naming), labels.astype(np.int64, copy=False))


def _by_number(images: Any, part: str) -> Sequence[Any]:
    """The images of a part, looked up by their number. The cells of a pandas column become a list, because ``column[3]`` is the
    cell with the index 3, and after a shuffle ``labels[3]`` belongs to another one.
    """
    if getattr(images, "ndim", None) == 1 and hasattr(images, "iloc"):
        return list(images)
    by_name = isinstance(images, str | bytes | Mapping) or hasattr(images, "iloc")
    if by_name or not (hasattr(images, "__len__") and hasattr(images, "__getitem__")):
        raise TypeError(f"expected a list, an array or another sequence as images of {part}; found {type(images).__name__}")
    return images  # type: ignore[no-any-return]
