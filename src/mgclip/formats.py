"""The image formats that are read: those of pictures. Not among them: formats whose readers start other programs."""

from __future__ import annotations

from functools import lru_cache

FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """Those of ``FORMATS`` that the installed Pillow reads."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@lru_cache(maxsize=1)
def endings() -> frozenset[str]:
    """The endings of their files, with the dot, in small letters."""
    from PIL import Image

    read = set(formats())
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in read)
