"""Per class: how many images, how many right, and what is taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 20
"""So many of the most frequent confusions are listed."""


def per_class(names: Sequence[str], truth: NDArray[Any], found: NDArray[Any]) -> list[dict[str, Any]]:
    """For each class: images, how many were right, how often it was answered, recall and precision (None where undefined).

    ``truth`` and ``found`` ``(n,)`` are positions in ``names``.
    """
    images, answers = (np.bincount(labels, minlength=len(names)) for labels in (truth, found))
    right = np.bincount(truth[truth == found], minlength=len(names))
    return [
        {
            "name": name,
            "images": int(images[label]),
            "right": int(right[label]),
            "predicted": int(answers[label]),
            "recall": float(right[label] / images[label]) if images[label] else None,
            "precision": float(right[label] / answers[label]) if answers[label] else None,
        }
        for label, name in enumerate(names)
    ]


def confused(names: Sequence[str], truth: NDArray[Any], found: NDArray[Any], most: int = MOST) -> list[dict[str, Any]]:
    """The most frequent mistakes: what it was, what was answered, how often."""
    pairs = Counter((int(a), int(b)) for a, b in zip(truth, found, strict=True) if a != b)
    ranked = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"truth": names[a], "predicted": names[b], "count": count} for (a, b), count in ranked[:most]]
