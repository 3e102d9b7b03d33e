"""Images of 300 sizes whose crops are recorded."""

import numpy as np
from PIL import Image

SIDE = 224


def sizes():
    """300 widths and heights: photographs, tall and wide images, small ones, and some near the crop's own size."""
    rng = np.random.default_rng(14)
    some = [(int(w), int(h)) for w, h in rng.integers(20, 640, (290, 2)) if max(w, h) <= 8 * min(w, h)]
    known = [
        (500, 375),
        (375, 500),
        (500, 333),
        (333, 500),
        (640, 480),
        (224, 224),
        (224, 225),
        (225, 224),
        (32, 32),
        (227, 224),
    ]
    return (known + some + [(w + 1, h + 2) for w, h in some])[:300]


def image(width, height):
    """An image whose pixels encode their position: column and row modulo 256, and the upper bits of both."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x % 256, y % 256, x // 256 + 16 * (y // 256)], axis=2).astype(np.uint8))


def place(pixel):
    """The column and row that a pixel of ``image`` encodes."""
    return int(pixel[0]) + 256 * (int(pixel[2]) % 16), int(pixel[1]) + 256 * (int(pixel[2]) // 16)
