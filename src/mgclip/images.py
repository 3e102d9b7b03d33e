"""Read image files from any source: the largest size, and which files cannot be read."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mgclip.errors import InputError, MGCLIPError, first_line
from mgclip.home import in_home
from mgclip.image_formats import formats, needed_plugin
from mgclip.missing import not_found
from mgclip.rgb import displayed, silence_pillow
from mgclip.system_errors import is_system_error
from mgclip.while_inside import NO_WARNINGS

MAX_PIXELS = 120_000_000
"""The largest image that is opened: it takes about 360 MB of memory."""

ROOM = 2**30
"""Bytes that decoding an image may need: a decoder that failed while fewer can be allocated may have failed for that reason."""

MAX_RATIO = 200
"""The largest ratio of the sides. CLIP resizes the shorter side, so a longer image would become too large."""

THREADS = "MGCLIP_THREADS"
"""The environment variable that sets how many threads open and transform images at most."""

CHUNK = 64
"""Images that a thread opens before it reports."""

DECODING = [threading.Lock() for _ in range(64)]
"""Locks that Pillow images share: an image that is given twice is decoded by one thread at a time."""


def thread_count() -> int:
    """Return the largest number of threads that open images: ``MGCLIP_THREADS``, or the number of cores that this process has.

    Raises:
        InputError: If the variable is not a whole number of at least 1.
    """
    value = os.environ.get(THREADS, "")
    if not value:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not value.isdecimal() or int(value) < 1:
        raise InputError(f"{THREADS} must be a whole number of at least 1; found {value!r}.")
    return int(value)


class UnrotatedPath(type(Path())):  # type: ignore[misc]
    """The path of an image whose orientation tag is ignored, or of a folder of such images; paths made from it are of its type.

    Images of published data sets are read this way, because the published results were measured on unrotated images.
    """


class UnreadableImage(InputError):
    """The image ``file`` cannot be read, for a ``reason``."""

    def __init__(self, file: str | Path, reason: str) -> None:
        super().__init__(f"The image {file} cannot be read ({reason}): give another file or leave it out.")
        self.file, self.reason = file, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return UnreadableImage, (self.file, self.reason)


@contextlib.contextmanager
def open_undecoded(file: Any) -> Iterator[Image.Image]:
    """Open an image file, or a stream of its bytes, without decoding it.

    Raises:
        ValueError: If the image is too large or too long. Pillow's readers raise many other types.
    """
    silence_pillow()
    with Image.open(file, formats=formats()) as image:
        check_size(*image.size)
        yield image


def check_size(width: int, height: int) -> None:
    """Check that an image can be opened and resized in little memory. Raises ``ValueError`` if it is too large or too long."""
    if width < 1 or height < 1:
        raise ValueError(f"{width} x {height} pixels is an empty image")
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ValueError(f"{width} x {height} pixels: one side is more than {MAX_RATIO} times as long as the other")


def open_image(file: str | os.PathLike[str], content: bytes | None = None, *, least_side: int | None = None) -> Image.Image:
    """Open an image file in RGB, as a viewer displays it (``rgb.displayed``).

    Args:
        file: The path; ``~`` is the home folder. The orientation tag is ignored if it is an ``UnrotatedPath``.
        content: The bytes of the file, if they were read before.
        least_side: Decode a JPEG at reduced size if no side becomes shorter than this.

    Raises:
        InputError: If the file does not exist, cannot be read, has an unsupported format or is too large. Names the file.
    """
    source = in_home(file) if content is None else io.BytesIO(content)
    return _decoded(source, str(file), upright=not isinstance(file, UnrotatedPath), least_side=least_side)


def decode_unrotated(data: bytes, name: str) -> Image.Image:
    """Decode the bytes of a published image, ignoring its orientation tag. Errors call the image ``name``."""
    return _decoded(io.BytesIO(data), name, upright=False)


@dataclass(frozen=True)
class MemberImage:
    """An image inside a larger file, decoded when it is used: its bytes, or the path of a file, and what errors call it."""

    data: bytes | str
    name: str

    def open(self, *, least_side: int | None = None) -> Image.Image:
        """Decode it in RGB as ``open_image`` does. Raises ``UnreadableImage`` if it cannot be read."""
        source = io.BytesIO(self.data) if isinstance(self.data, bytes) else self.data
        return _decoded(source, self.name, upright=True, least_side=least_side)


def _decoded(source: Any, name: str, *, upright: bool, least_side: int | None = None) -> Image.Image:
    try:
        with open_undecoded(source) as image:
            return displayed(image, upright=upright, keep=False, least_side=least_side)
    except FileNotFoundError:
        if isinstance(source, str) and source != str(in_home(name)):  # the image of a shard
            raise UnreadableImage(name, f"there is no file {source}") from None
        raise not_found("image file", name) from None
    except (IsADirectoryError, PermissionError):  # Windows gives no permission to open a folder
        if not (isinstance(source, (str, os.PathLike)) and os.path.isdir(source)):  # noqa: PTH112 (pathlib may raise it again)
            raise
        raise UnreadableImage(name, "it is a folder") from None
    except Exception as error:  # decoders of damaged files raise a dozen types
        if is_system_error(error):
            raise
        _check_room(error, f"The image {name}")
        raise UnreadableImage(name, needed_plugin(source) or _reason(error)) from None


def to_rgb(image: Any, *, least_side: int | None = None) -> Image.Image:
    """Convert one image to RGB.

    Args:
        image: A path, a ``MemberImage``, a Pillow image, or a uint8 array ``(h, w)``, ``(h, w, 1)``, ``(h, w, 3)`` or
            ``(h, w, 4)``.
        least_side: Decode a JPEG file at reduced size if no side becomes shorter than this.

    Raises:
        InputError: If the image cannot be read or used. Names its file, if it has one.
    """
    if isinstance(image, (str, os.PathLike)):
        return open_image(image, least_side=least_side)
    if isinstance(image, MemberImage):
        return image.open(least_side=least_side)
    array = None if isinstance(image, Image.Image) else _array(image)
    try:
        check_size(*(image.size if array is None else array.shape[1::-1]))
        if array is not None:
            return displayed(Image.fromarray(array))
        with DECODING[id(image) // 64 % len(DECODING)]:  # threads that read one file would mix its pixels
            return displayed(image)
    except Exception as error:  # a Pillow image may be a file that is not decoded yet
        if is_system_error(error):
            raise
        if _is_closed(image):
            raise InputError("An image cannot be used: its file was closed before it was read; give its path.") from None
        _check_room(error, "An image")
        raise InputError(f"An image cannot be used: {_reason(error)}.") from None


def _check_room(error: Exception, what: str) -> None:
    """Raise ``MemoryError`` if a decoder may have failed because memory ran out: those of WebP, AVIF, JPEG 2000 and progressive
    JPEG then report a damaged image, which must not be skipped.
    """
    if not isinstance(error, OSError | RuntimeError | SystemError) or isinstance(error, UnidentifiedImageError):
        return  # the image was refused before it was decoded
    try:
        np.empty(ROOM, np.uint8)  # reserves addresses, and takes no memory
    except MemoryError:
        free = f"less than {ROOM // 2**30} GiB of memory can be allocated"
        raise MemoryError(f"{what} cannot be decoded ({_reason(error)}) while {free}") from None


def _is_closed(image: Any) -> bool:
    """Whether a Pillow image was not decoded before its file was closed."""
    file = getattr(image, "fp", None)
    return bool(getattr(image, "tile", ())) and (file is None or getattr(file, "closed", False))


def _array(image: Any) -> NDArray[np.uint8]:
    try:
        array = np.array(None) if isinstance(image, tuple) else np.asarray(image)  # data sets of PyTorch yield (image, label)
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


def find_unreadable_images(images: Sequence[Any], on_images: Callable[[int], None] = lambda count: None) -> dict[int, str]:
    """Decode all images, on all cores, to find those that cannot be read. Pillow releases Python's lock while it decodes.

    Args:
        images: Anything that ``to_rgb`` takes.
        on_images: Called with the number of images tried since its last call.

    Returns:
        The reason for each unreadable image, by its position.
    """
    found: dict[int, str] = {}

    def find(chunk: range) -> None:
        found.update(_unreadable_in(images, chunk))

    with NO_WARNINGS:  # unusual metadata does not make an image unreadable
        in_threads(find, len(images), on_images)
    return dict(sorted(found.items()))


def in_threads(work: Callable[[range], None], number: int, on_images: Callable[[int], None]) -> None:
    """Call ``work`` in threads on the positions of all images, a few at a time.

    Args:
        work: Called with positions.
        number: The number of images.
        on_images: Called with the number of images done since its last call.
    """
    chunks = [range(start, min(start + CHUNK, number)) for start in range(0, number, CHUNK)]
    pool = ThreadPoolExecutor(thread_count())
    try:
        for chunk, _ in zip(chunks, pool.map(work, chunks), strict=True):
            on_images(len(chunk))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt must not wait for a million images


def _unreadable_in(images: Sequence[Any], chunk: range) -> dict[int, str]:
    bad = {}
    for position in chunk:
        try:
            to_rgb(images[position])
        except UnreadableImage as error:
            bad[position] = error.reason
        except Exception as error:  # data sets of other libraries may raise anything
            if is_system_error(error):
                raise
            bad[position] = _reason(error)
    return bad


def _reason(error: Exception) -> str:
    if isinstance(error, MGCLIPError) and isinstance(error.__cause__, Exception):
        return _reason(error.__cause__)  # the sentence around it names the image, which a list does as well
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a supported format"
    if isinstance(error, Image.DecompressionBombError):  # Pillow's own limit, which is higher, names an attack
        return f"it has more than {MAX_PIXELS:,} pixels"
    return getattr(error, "strerror", None) or first_line(error)
