"""Check the parts of a data set that a function of any package returned, before anything uses them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mgclip.stream.data import Dataset, Split


def checked_parts(dataset: Dataset) -> Dataset:
    """The data set with a tuple of class names, and labels as arrays of int64. Raises ``TypeError`` or ``ValueError`` if one of
    its parts is something else, or the labels of a part do not fit its images or the classes.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"expected a Dataset; found {type(dataset).__name__}")
    given = dataset.class_names
    names = () if isinstance(given, str) else tuple(given)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"expected a tuple of texts as class_names; found {given!r}")
    train, test = (_checked(split, part, len(names)) for part, split in (("train", dataset.train), ("test", dataset.test)))
    return replace(dataset, class_names=names, train=train, test=test)


def _checked(split: Split, part: str, classes: int) -> Split:
    if not isinstance(split, Split):
        raise TypeError(f"expected a Split as {part}; found {type(split).__name__}")
    labels = np.asarray(split.labels)
    if labels.shape != (0,) and (labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer)):
        raise TypeError(
            f"expected whole numbers in one dimension as labels of {part}; found {labels.dtype} in the shape {labels.shape}"
        )
    if len(split.images) != len(labels):
        raise ValueError(f"expected one label for each image of {part}; found {len(split.images)} images, {len(labels)} labels")
    if wrong := [int(label) for label in (labels.min(initial=0), labels.max(initial=0)) if not 0 <= label < classes]:
        raise ValueError(f"expected labels of {part} from 0 to {classes - 1}; found {wrong[0]}")
    return Split(split.images, labels.astype(np.int64, copy=False))
