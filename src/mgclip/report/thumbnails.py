"""Small versions of image files, as data URIs that a page contains itself."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from mgclip.images import open_undecoded
from mgclip.rgb import displayed

SIDE = 128
"""Longer side of a small image, in pixels."""


def thumbnail(file: Path, side: int = SIDE) -> str | None:
    """A small version of an image file, upright as a viewer shows it; None if it cannot be read."""
    try:
        about = file.stat()
    except (OSError, ValueError):
        return None
    return _thumbnail(file, side, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=2000)
def _thumbnail(file: Path, side: int, _time: int, _bytes: int) -> str | None:
    """``thumbnail`` of one state of the file. The latest are kept, because the studio shows them again after each change."""
    try:
        with open_undecoded(file) as image:
            image.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded at about this size
            small = displayed(image, keep=False)
    except Exception:  # damaged files raise many kinds of errors, and a page can do without an image
        return None
    small.thumbnail((side, side))
    return min((_uri(small, kind) for kind in ("png", "jpeg")), key=len)


def _uri(image: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=True, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
