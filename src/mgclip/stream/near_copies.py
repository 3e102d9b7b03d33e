"""Find near copies of pictures: another size, compression or brightness, or the next photograph of a series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mgclip.images import in_threads, open_undecoded
from mgclip.rgb import displayed

SIDE = 16
"""Width and height of a thumbnail."""
ALIKE = 0.98
"""The least correlation of the thumbnails of a picture and its near copy."""
CONTRAST = 4.0
"""The least standard deviation of the grey values of a thumbnail. Pictures of one colour are not compared."""
AT_ONCE = 1 << 24
"""Pairs of thumbnails that are compared at once, which take 64 MB."""


def thumbnails(files: Sequence[Path], on_images: Callable[[int], None] = lambda count: None) -> NDArray[np.float32]:
    """Grey thumbnails ``(n, SIDE * SIDE)`` with mean 0 and length 1; zeros for pictures of one colour or that cannot be read.

    ``on_images`` is called with the number of images opened since its last call.
    """
    small = np.zeros((len(files), SIDE * SIDE), dtype=np.float32)

    def fill(chunk: range) -> None:
        for place in chunk:
            small[place] = _thumbnail(files[place])

    in_threads(fill, len(files), on_images)
    return small


def _thumbnail(file: Path) -> NDArray[np.float32] | float:
    try:
        with open_undecoded(file) as image:
            image.draft("RGB", (4 * SIDE, 4 * SIDE))  # a JPEG is decoded at a fraction of its size
            grey = displayed(image, keep=False).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    except Exception:  # decoders of damaged files raise a dozen types; another step reports the file
        return 0.0
    values = np.asarray(grey, dtype=np.float32).ravel()
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    return np.asarray(values / length, dtype=np.float32) if length > CONTRAST * SIDE else 0.0


def nearest_of(queries: NDArray[np.float32], originals: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each thumbnail the position of its most similar original, or -1 if it is a near copy of none."""
    found = np.full(len(queries), -1, dtype=np.int64)
    if not len(originals):
        return found
    rows = max(1, AT_ONCE // len(originals))
    for start in range(0, len(queries), rows):
        alike = queries[start : start + rows] @ originals.T
        best = alike.argmax(1)
        near = np.take_along_axis(alike, best[:, None], 1)[:, 0] >= ALIKE
        found[start : start + rows][near] = best[near]
    return found
