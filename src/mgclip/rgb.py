"""Convert an image of any mode to what a viewer displays: 8-bit RGB, upright, with white behind transparent parts."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION, MIN_SAMPLE, MAX_SAMPLE = 258, 262, 274, 340, 341
"""Tags of TIFF and EXIF; the last two declare the range of the samples."""

REDUCED = "mgclip-reduced"
"""The entry in ``info`` of an image that was decoded at reduced size: its full size, and the box of pixels that this fills."""

TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns an image with this orientation tag upright."""
SIDEWAYS, STARTS_RIGHT, STARTS_BELOW = {5, 6, 7, 8}, {2, 3, 6, 7}, {3, 4, 7, 8}
"""The orientation tags that swap width and height, and those that move the upper left corner to the right, or down."""


def silence_pillow() -> None:
    """Ignore Pillow's warnings about damaged EXIF tags, from which it recovers, and about large images, which have a limit here.

    Each filter is added once per set of filters. ``warnings.catch_warnings`` would not do here: it is not safe in threads.
    """
    for message, kind in (("Corrupt EXIF data", UserWarning), ("Image size", Image.DecompressionBombWarning)):
        if ("ignore", re.compile(message, re.IGNORECASE), kind, None, 0) not in warnings.filters:
            warnings.filterwarnings("ignore", message, kind)


def displayed(image: Image.Image, *, upright: bool = True, keep: bool = True, least_side: int | None = None) -> Image.Image:
    """Return an RGB image, without metadata, of what a viewer displays.

    Args:
        image: An image of any mode, decoded or not.
        upright: Apply the orientation tag.
        keep: Leave ``image`` unchanged; otherwise it may be the image that is returned, which saves a copy.
        least_side: Decode a JPEG at a half, a quarter or an eighth of its size if no side becomes shorter than this. The result
            then has the entry ``REDUCED``. Other images are decoded completely.

    Raises:
        ValueError: If the image has more than 8 bits and its range of values is not declared. Decoders raise many other types.
    """
    silence_pillow()
    key = _transparent_grey(image)
    full = image.size
    reduced = None if least_side is None else image.draft(None, (least_side, least_side))  # type: ignore[func-returns-value]
    image.load()  # some formats store their tags after the pixels
    orientation = _orientation(image)
    rgb = _whole_canvas(image, _on_white(_eight_bits(image, key)))
    if rgb is image and (keep or orientation is not None):
        rgb = image.convert("RGB")
    rgb.info = {}
    turn = orientation if upright and orientation in TRANSPOSITIONS else None
    turned = rgb if turn is None else rgb.transpose(TRANSPOSITIONS[turn])
    if reduced is not None and image.size != full:
        turned.info = {REDUCED: _full_size_and_box(turned.size, full, reduced[1][2:], turn)}
    return turned


def _full_size_and_box(
    size: tuple[int, int], full: tuple[int, int], filled: tuple[float, float], orientation: int | None
) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
    """Return the full size of an image that was decoded at reduced size, and the box that it fills in the reduced pixels.

    Both are those after the image was turned upright.

    Args:
        size: The reduced size after turning. Sides are rounded up, so the outermost pixels may be filled partly.
        full: The full size before turning.
        filled: The width and height that the image filled before turning, in reduced pixels from the upper left corner.
        orientation: The orientation tag by which the image was turned; None if it was not.
    """
    (full_width, full_height), (width, height) = (full[::-1], filled[::-1]) if orientation in SIDEWAYS else (full, filled)
    left = size[0] - width if orientation in STARTS_RIGHT else 0.0
    top = size[1] - height if orientation in STARTS_BELOW else 0.0
    return (full_width, full_height), (left, top, left + width, top + height)


def _orientation(image: Image.Image) -> int | None:
    """The orientation tag, if there is a readable one."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # damaged tags raise a dozen types, and the image itself may still be good
        return None
    return orientation if isinstance(orientation, int) else None


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and image.format == "WEBP" and getattr(image, "is_animated", False):
        # The first frame need not cover the canvas. Pillow then drops the transparency, but keeps it in the unused fourth byte.
        image = Image.frombytes("RGBA", image.size, image.tobytes("raw", "RGBX"))
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    foreground = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    background = Image.new("RGB", foreground.size, "white")
    background.paste(foreground, mask=foreground)
    return background


def _whole_canvas(image: Image.Image, rgb: Image.Image) -> Image.Image:
    """Make white what the first frame of a GIF file does not cover."""
    covered = getattr(image, "dispose_extent", None)
    if covered in (None, (0, 0, *image.size)) or image.tell() > 0:
        return rgb
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(rgb.crop(covered), covered)
    return canvas


def _transparent_grey(image: Image.Image) -> int | None:
    """The grey value that a PNG declares transparent. Pillow scales 2-bit and 4-bit pixels to 8 bits, but not this value."""
    key = image.info.get("transparency")
    if not isinstance(key, int) or not (image.mode == "L" or _is_deep(image)):
        return None
    tile: Any = getattr(image, "tile", None)
    if not tile and image.mode == "L" and _may_have_been_scaled(np.asarray(image), key):
        raise ValueError("it was loaded before, so the unit of its transparent grey is unknown; give the path of its file")
    return key * {"L;2": 85, "L;4": 17}.get(str(tile[0][3]) if tile else "", 1)


def _may_have_been_scaled(pixels: NDArray[np.uint8], key: int) -> bool:
    """Whether these may be pixels of 2 or 4 bits, scaled to 8 bits, some of them of the grey ``key`` before scaling."""
    return any(0 < key < 256 // step and bool((pixels % step == 0).all() and (pixels == key * step).any()) for step in (85, 17))


def _eight_bits(image: Image.Image, key: int | None) -> Image.Image:
    """Scale deep grey images from their declared range, and make the grey ``key`` transparent."""
    scaled = _scaled(image) if _is_deep(image) else image
    if key is None:
        return scaled
    opaque = Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8))
    return Image.merge("LA", (scaled, opaque))


def _is_deep(image: Image.Image) -> bool:
    """Whether the image is grey with more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def _scaled(image: Image.Image) -> Image.Image:
    low, high = _declared_range(image)
    steps = high - low + (image.mode != "F")  # of integers the upper 8 bits are kept, as Pillow does for deep colours
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=low)
    grey = np.floor((values - low) * (256 / steps)).clip(0, 255).astype(np.uint8)
    white_is_zero = _tags(image).get(PHOTOMETRIC) == 0
    return Image.fromarray(255 - grey if white_is_zero else grey)


def _declared_range(image: Image.Image) -> tuple[float, float]:
    """The values of black and white, from the type of the image and the tags of its file, never from its pixels."""
    tags = _tags(image)
    if MAX_SAMPLE in tags:
        low, high = (float(np.ravel(tags.get(tag, 0))[0]) for tag in (MIN_SAMPLE, MAX_SAMPLE))
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"its declared range of values is {low:g} to {high:g}")
        return low, high
    if image.mode.startswith("I;16") and not tags and "compression" in image.info:
        raise ValueError(
            "it was read from a TIFF file and then copied or edited, which loses the declared range of its values; give the path "
            "of the file, or convert the image to 8 bits"
        )
    if image.mode.startswith("I;16"):
        return 0, 2.0 ** int(np.ravel(tags.get(BITS_PER_SAMPLE, 16))[0]) - 1
    if image.mode == "I" and getattr(image, "format", None) in ("PNG", "PPM"):  # Pillow stores their 16 bits in 32
        return 0, 65535
    kind = "floating-point" if image.mode == "F" else "signed or 32-bit"
    raise ValueError(
        f"its {kind} values have no declared range, so black and white are unknown; save it with 8 or 16 bits, unsigned"
    )


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})
