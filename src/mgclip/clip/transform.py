"""CLIP's image transform up to normalisation: resize, centre crop, bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mgclip.rgb import REDUCED

DRAFT = 2
"""A JPEG decoded at reduced size keeps at least this many times the pixels that each side needs. Each of its pixels then averages
few pixels of the photograph, so that the result depends mostly on the resizing that follows, as it does for complete decoding.
"""


@dataclass(frozen=True)
class Transform:
    """Resizes the shorter side to ``shorter``, or both sides to ``exact``, then crops the centre to ``crop``.

    All pairs are width and height. Sizes and crops are rounded as in torchvision, with which CLIP was trained. The image
    processors of transformers place a quarter of all crops one pixel further up or left.

    With ``jpeg_draft``, JPEG files should be decoded at a half, a quarter or an eighth of their size if ``least_side`` allows it.
    """

    shorter: int | None
    exact: tuple[int, int] | None
    crop: tuple[int, int] | None
    resample: Image.Resampling
    jpeg_draft: bool = False

    @classmethod
    def of(cls, processor: Any) -> Transform:
        """Return the transform of an image processor of transformers. Raises ``ValueError`` if it is not supported."""
        size = {key: value for key, value in dict(processor.size or {}).items() if value is not None}
        shorter = exact = None
        if processor.do_resize and set(size) == {"shortest_edge"}:
            shorter = int(size["shortest_edge"])
        elif processor.do_resize and set(size) == {"height", "width"}:
            exact = int(size["width"]), int(size["height"])
        elif processor.do_resize:
            raise ValueError(f"it resizes to {', '.join(size) or 'no size'}; expected shortest_edge, or height and width")
        crop = None
        if processor.do_center_crop:
            crop = int(processor.crop_size["width"]), int(processor.crop_size["height"])
        if crop is None and exact is None:
            raise ValueError("its image transform gives images of different sizes")
        resample = Image.Resampling.BICUBIC if processor.resample is None else Image.Resampling(processor.resample)
        return cls(shorter, exact, crop, resample)

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """Transform RGB images to ``(n, 3, height, width)`` uint8."""
        width, height = self.crop or self.exact or (0, 0)
        pixels = np.empty((len(images), 3, height, width), dtype=np.uint8)
        for image, channels in zip(images, pixels, strict=True):
            lines = self._cropped(image).tobytes("raw", "RGB;L")  # each line in three parts, one for each colour
            channels[:] = np.frombuffer(lines, np.uint8).reshape(height, 3, width).swapaxes(0, 1)
        return torch.from_numpy(pixels)

    @property
    def least_side(self) -> int | None:
        """The length that each side of a JPEG keeps at least when it is decoded at reduced size; None decodes it completely."""
        needed = self.shorter if self.exact is None else max(self.exact)
        return DRAFT * needed if self.jpeg_draft and needed is not None else None

    def _cropped(self, image: Image.Image) -> Image.Image:
        full, box = image.info.get(REDUCED, (image.size, None))
        width, height = self.size(*full)
        if self.crop is None:
            return image.resize((width, height), self.resample, box)
        left, top, right, bottom = crop_box((width, height), self.crop)
        if box is None and left > 0:
            # Pillow resizes the width first, then the height. Removing columns outside the crop in between changes no pixel.
            image = image.resize((width, image.height), self.resample).crop((left, 0, right, image.height))
            left, width, right = 0, right - left, right - left
        return image.resize((width, height), self.resample, box).crop((left, top, right, bottom))

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of an image after resizing."""
        if self.exact is not None:
            return self.exact
        if self.shorter is None:
            return width, height
        short, long = sorted((width, height))
        longer = int(self.shorter * long / short)
        return (self.shorter, longer) if width <= height else (longer, self.shorter)


def crop_box(size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a centre crop. The box of a smaller image reaches beyond it."""
    left, top = (
        round((side - wanted) / 2) if side >= wanted else -((wanted - side) // 2) for side, wanted in zip(size, crop, strict=True)
    )
    return left, top, left + crop[0], top + crop[1]
