"""The supported formats of image files, their extensions, and the plugins that Pillow needs for some of them."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

FORMATS = "JPEG PNG AVIF HEIF BMP DIB GIF ICO JPEG2000 MPO PCX PPM SGI TGA TIFF WEBP"
"""Formats of pictures, in the order in which they are tried. Formats whose readers start other programs are not among them."""

PLUGINS = {"HEIF": "'mg-clip[heic]'", "AVIF": "pillow-avif-plugin"}
"""Formats of phones that Pillow may need a plugin for, and what to install with pip."""

PHONE_EXTENSIONS = {".heic": "HEIF", ".heif": "HEIF", ".avif": "AVIF"}
"""Their file extensions."""

NAMES_OF_FORMATS = {"HEIF": "HEIC", "AVIF": "AVIF"}
"""What people call them."""


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """The formats of ``FORMATS`` that the installed Pillow reads, with its plugins."""
    Image.init()
    if "HEIF" not in Image.OPEN and find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()
    if "AVIF" not in Image.OPEN and find_spec("pillow_avif"):
        importlib.import_module("pillow_avif")
    return tuple(name for name in FORMATS.split() if name in Image.OPEN)


@lru_cache(maxsize=1)
def file_extensions() -> frozenset[str]:
    """The file extensions of these formats, with the dot, in lower case."""
    read = {*formats(), "MPO"}  # Pillow opens MPO, two pictures in one file, as JPEG and does not list it as a format
    return frozenset(extension for extension, kind in Image.registered_extensions().items() if kind in read)


def missing_plugin(extensions: Iterable[str]) -> str:
    """What to install to read images with these extensions, in a few words; empty if no plugin is missing."""
    kinds = {PHONE_EXTENSIONS.get(extension.lower(), "") for extension in extensions} - {"", *formats()}
    return ", ".join(f"`pip install {PLUGINS[kind]}` to read {NAMES_OF_FORMATS[kind]} images" for kind in sorted(kinds))


def needed_plugin(source: Any) -> str:
    """Why an image of a phone cannot be read, if Pillow needs a plugin for it; otherwise empty."""
    try:
        with contextlib.nullcontext(source) if hasattr(source, "read") else Path(source).open("rb") as stream:
            stream.seek(0)
            start = stream.read(32)
    except (OSError, ValueError):
        return ""
    brands = {start[i : i + 4] for i in range(8, 32, 4)} if start[4:8] == b"ftyp" else set()
    kind = "AVIF" if brands & {b"avif", b"avis"} else "HEIF" if brands & {b"heic", b"heix", b"hevc", b"mif1"} else ""
    if not kind or kind in formats():
        return ""
    what = "a HEIC" if kind == "HEIF" else "an AVIF"
    return f"it is {what} image: run `pip install {PLUGINS[kind]}` to read it, or save it as JPEG"
