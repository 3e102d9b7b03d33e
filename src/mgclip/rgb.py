"""What an image of any mode looks like: in RGB with 8 bits, the right way up, transparent parts on white."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from PIL import Image

BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION, LOWEST, HIGHEST = 258, 262, 274, 340, 341
"""Tags of TIFF and EXIF; the last two declare the range of the samples."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image with this orientation tag upright."""

warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)  # of Pillow; the picture is still good


def displayed(image: Image.Image, *, upright: bool = True) -> Image.Image:
    """A new RGB image without tags. ``upright``: apply the orientation tag.

    Raises ``ValueError`` for an image of more than 8 bits whose range of values is not declared, and whatever decoding raises.
    """
    key = _grey_key(image)
    image.load()  # some formats store their tags after the pixels
    turn = _turn(image) if upright else None
    seen = _on_white(_eight_bits(image, key))
    seen.info = {}
    return seen if turn is None else seen.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged tags raise a dozen kinds; the picture is still good
        return None


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    own = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    ground = Image.new("RGB", own.size, "white")
    ground.paste(own, mask=own)
    return ground


def _grey_key(image: Image.Image) -> int | None:
    """The grey that a PNG declares transparent. Pillow scales pixels of 2 and 4 bits to 8, and leaves this value as it is."""
    key = image.info.get("transparency")
    if not isinstance(key, int) or not (image.mode == "L" or _is_deep(image)):
        return None
    tile: Any = getattr(image, "tile", None)
    return key * {"L;2": 85, "L;4": 17}.get(str(tile[0][3]) if tile else "", 1)


def _eight_bits(image: Image.Image, key: int | None) -> Image.Image:
    """Grey images of more than 8 bits scaled from their declared range; others as they are."""
    seen = _scaled(image) if _is_deep(image) else image
    if key is None:
        return seen
    opaque = Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8))
    return Image.merge("LA", (seen, opaque))


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _scaled(image: Image.Image) -> Image.Image:
    lowest, highest = _declared_range(image)
    steps = highest - lowest + (image.mode != "F")  # integers: the upper 8 bits, as Pillow takes of deep colours
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=lowest)
    grey = np.floor((values - lowest) * (256 / steps)).clip(0, 255).astype(np.uint8)
    white_is_zero = _tags(image).get(PHOTOMETRIC) == 0
    return Image.fromarray(255 - grey if white_is_zero else grey)


def _declared_range(image: Image.Image) -> tuple[float, float]:
    """The values that stand for black and white, by the image's type and what its file declares, never by its pixels."""
    tags = _tags(image)
    if HIGHEST in tags:
        lowest, highest = (float(np.ravel(tags.get(tag, 0))[0]) for tag in (LOWEST, HIGHEST))
        if not -np.inf < lowest < highest < np.inf:
            raise ValueError(f"its declared range of values is {lowest:g} to {highest:g}")
        return lowest, highest
    if image.mode.startswith("I;16"):
        return 0, 2.0 ** int(np.ravel(tags.get(BITS_PER_SAMPLE, 16))[0]) - 1
    if image.mode == "I" and getattr(image, "format", None) in (
        "PNG",
        "PPM",
    ):  # 16 bits, in a mode that has room for more
        return 0, 65535
    kind = "floating-point" if image.mode == "F" else "signed or 32-bit"
    raise ValueError(
        f"its {kind} values have no declared range, so black and white are unknown; save it with 8 or 16 bits, unsigned"
    )


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})
