"""Image files from anywhere: which formats are read, how large they may be, and which of many cannot be read."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mgclip.errors import InputError
from mgclip.rgb import displayed

FORMATS = (
    "JPEG", "PNG", "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG2000", "MPO", "PCX", "PPM", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip
"""Those of pictures, the most frequent first, as they are tried. Not among them: formats whose readers start other programs."""

MOST_PIXELS = 120_000_000
"""A larger image is refused: it would take more than 360 MB opened."""

MOST_RATIO = 200
"""An image more so many times longer than wide is refused: resized to its shorter side, as CLIP does, it would be too large."""

THREADS = "MGCLIP_THREADS"
"""The environment variable that sets how many threads open and transform images."""

CHUNK = 64
"""Images that a thread tries before it reports."""


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """Those of ``FORMATS`` that the installed Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@lru_cache(maxsize=1)
def file_extensions() -> frozenset[str]:
    """The endings of their files, with the dot, in small letters."""
    read = {
        *formats(),
        "MPO",
    }  # Pillow opens MPO, two pictures in one file, as JPEG, and lists it as no format of its own
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in read)


def thread_count() -> int:
    """How many threads open and transform images: ``MGCLIP_THREADS``, or one for each core that this process may use.

    Raises ``InputError`` if the variable is not a whole number of at least 1.
    """
    given = os.environ.get(THREADS, "")
    if not given:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"{THREADS} must be a whole number of at least 1; found {given!r}.")
    return int(given)


class UnrotatedPath(type(Path())):  # type: ignore[misc]
    """The path of an image of a published data set, or of its folder: used as stored, without applying its orientation tag, like
    the images that published results were measured on. Paths made from it are of its kind.
    """


class UnreadableImage(InputError):
    """A file that is no picture, for a ``reason``."""

    def __init__(self, file: str | Path, reason: str) -> None:
        super().__init__(f"The image {file} cannot be read ({reason}): replace or remove the file.")
        self.file, self.reason = file, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return UnreadableImage, (self.file, self.reason)


@contextlib.contextmanager
def open_undecoded(file: Any) -> Iterator[Image.Image]:
    """An image file, or a stream of its bytes, opened and not yet decoded.

    Raises whatever its reader does, and ``ValueError`` as ``check_size`` does.
    """
    with Image.open(file, formats=formats()) as image:
        check_size(*image.size)
        yield image


def check_size(width: int, height: int) -> None:
    """See that an image can be opened and resized in little memory. Raises ``ValueError`` where it is too large or too long."""
    if width < 1 or height < 1:
        raise ValueError(f"{width} x {height} pixels are none")
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels are more than {MOST_PIXELS}")
    if max(width, height) > MOST_RATIO * min(width, height):
        raise ValueError(f"{width} x {height} pixels are more than {MOST_RATIO} times longer than wide")


def open_image(file: str | os.PathLike[str]) -> Image.Image:
    """An image file as a person sees it, in RGB (``rgb.displayed``); that of an ``UnrotatedPath`` without its orientation tag.
    ``~/`` is the home folder.

    Raises ``InputError`` naming a file that cannot be read, is not of a format that is read, or is too large.
    """
    place = os.path.expanduser(file) if str(file).startswith("~/") else file  # noqa: PTH111
    return _decoded(place, str(file), upright=not isinstance(file, UnrotatedPath))


def decode_unrotated(data: bytes, name: str) -> Image.Image:
    """The same from the bytes of a published image, without its orientation tag. ``name``: what errors call it."""
    return _decoded(io.BytesIO(data), name, upright=False)


def _decoded(source: Any, name: str, *, upright: bool) -> Image.Image:
    try:
        with open_undecoded(source) as image:
            return displayed(image, upright=upright)
    except FileNotFoundError:
        raise InputError(f"There is no image file {name}.") from None
    except Exception as error:  # damaged files raise a dozen kinds, whatever their decoder met
        if _machine(error):
            raise
        raise UnreadableImage(name, _reason(error)) from None


def to_rgb(image: Any) -> Image.Image:
    """An RGB image of a Pillow image, a path, or an array ``(h, w)``, ``(h, w, 1)``, ``(h, w, 3)`` or ``(h, w, 4)`` of uint8.

    Raises ``InputError`` for an image that cannot be read or used, naming its file.
    """
    if isinstance(image, (str, os.PathLike)):
        return open_image(image)
    array = None if isinstance(image, Image.Image) else _array(image)
    try:
        check_size(*(image.size if array is None else array.shape[1::-1]))
        return displayed(image if array is None else Image.fromarray(array))
    except Exception as error:  # a Pillow image may be a file that is not decoded yet
        if _machine(error):
            raise
        raise InputError(f"An image cannot be used: {_reason(error)}.") from None


def _array(image: Any) -> NDArray[np.uint8]:
    try:
        array = np.asarray(image)
    except Exception as error:  # ragged lists, tensors on a GPU
        raise InputError(f"An image of type {type(image).__name__} cannot be used: {_reason(error)}.") from None
    if array.ndim == 0 or array.dtype.kind in "OSU":  # bytes, an open file, None, a row of a table
        kind = type(image).__name__
        raise InputError(f"Each image must be a path, a Pillow image or a uint8 array; found one of type {kind}.")
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise InputError(
            f"An image array must be uint8 of shape (h, w), (h, w, 3) or (h, w, 4); found {array.dtype} {array.shape}."
        )
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array


def find_unreadable_images(
    images: Sequence[Any], on_images: Callable[[int], None] = lambda count: None
) -> dict[int, str]:
    """Positions of the images that cannot be read, and why. All are decoded, on all cores: Pillow works outside Python's lock.

    ``on_images`` is told how many more were tried.
    """
    found: dict[int, str] = {}
    chunks = [range(start, min(start + CHUNK, len(images))) for start in range(0, len(images), CHUNK)]
    pool = ThreadPoolExecutor(thread_count())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata; what counts is the picture
        try:
            for chunk, bad in zip(chunks, pool.map(lambda chunk: _tried(images, chunk), chunks), strict=True):
                found |= bad
                on_images(len(chunk))
        finally:
            pool.shutdown(cancel_futures=True)  # interrupted, it stops now, not a million images later
    return found


def _tried(images: Sequence[Any], chunk: range) -> dict[int, str]:
    bad = {}
    for position in chunk:
        try:
            to_rgb(images[position])
        except UnreadableImage as error:
            bad[position] = error.reason
        except Exception as error:  # a set of another library decodes as it likes
            if _machine(error):
                raise
            bad[position] = _reason(error)
    return bad


def _machine(error: Exception) -> bool:
    """Whether an error is the machine's, and no fault of the image: what decoders raise carries no number of the system, unless
    the image made them look at a place where no file can have one.
    """
    own = (None, errno.ENOENT, errno.EINVAL, errno.EOVERFLOW)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in own)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture of a format that is read"
    return " ".join(str(error).split()) or type(error).__name__
