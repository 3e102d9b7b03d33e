"""Turn whatever is given as images into a sequence of single images, or explain in one sentence why that is not possible."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mgclip.errors import InputError

CHANNELS = (1, 3, 4)
MOST_BANDS = 15
"""The longest last axis of an array that is taken for channels, if both other axes are at least ``MUCH_LONGER`` times as long."""
MUCH_LONGER = 4
EXPECTED = "images must be a list of paths, Pillow images or uint8 arrays"


def image_list(images: Any) -> Sequence[Any]:
    """Return images as a sequence with one item per image.

    Args:
        images: A sequence of paths, Pillow images, arrays or tensors, which is read item by item; a generator, a pandas column,
            an array or a tensor of several images; or a single image. Tensors hold uint8, or floating point in 0..1, with
            channels first or last.

    Returns:
        The sequence, unchanged if its items need no conversion.

    Raises:
        InputError: If the argument is ambiguous or does not contain images.
    """
    if isinstance(images, Tensor):
        return list(_split(_pixel_values(images), channels_first=True))
    if isinstance(images, np.ndarray):
        pixels = images.dtype.kind not in "OUST" and images.shape != (0,)
        return list(_split(images, channels_first=False)) if pixels else _items(images)
    if isinstance(images, str | os.PathLike):
        return [_path(images)]
    if isinstance(images, Image.Image):
        return [images]
    if hasattr(images, "iloc"):
        return _column(images)
    if isinstance(images, bytes | bytearray | memoryview) or hasattr(images, "read"):
        raise InputError(f"{EXPECTED}; found {type(images).__name__}: open it with PIL.Image.open first.")
    if isinstance(images, Mapping | set | frozenset) or not (isinstance(images, Iterable) or hasattr(images, "__getitem__")):
        raise InputError(f"{EXPECTED}; found {type(images).__name__}.")
    if not (hasattr(images, "__len__") and hasattr(images, "__getitem__")):
        images = list(images)
    if isinstance(images, list | tuple) and any(isinstance(image, Tensor) for image in images):
        return [_single(image) if isinstance(image, Tensor) else image for image in images]
    return images  # type: ignore[no-any-return]


def _path(file: str | os.PathLike[str]) -> str | Path:
    """Return the path of one image, after a check that it is not a folder or a text of several lines."""
    name = os.fspath(file)
    if "\n" in name.strip():
        lines = len(name.split("\n"))
        raise InputError(f"{EXPECTED}; found one text of {lines} lines: give text.splitlines() for a list of paths.")
    if os.path.isdir(name):  # noqa: PTH112  (pathlib's raises if a name is too long)
        raise InputError(f"{EXPECTED}; found the folder {name}: list the files in it.")
    return file if isinstance(file, str) else Path(file)


def _column(table: Any) -> list[Any]:
    """The cells of a pandas column, in order."""
    if table.ndim == 1:
        return list(image_list(list(table)))
    if table.shape[1] == 1:
        return list(image_list(list(table.iloc[:, 0])))
    raise InputError(f"{EXPECTED}; found a table of {table.shape[1]} columns: choose the column of the images.")


def _items(array: NDArray[Any]) -> Sequence[Any]:
    """The items of an array of objects or text: a list, a column, or a single item."""
    if array.ndim == 0:
        return image_list(array.item())
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"{EXPECTED}; found an array of shape {array.shape}.")
    return image_list(array.tolist())


def _pixel_values(tensor: Tensor) -> NDArray[Any]:
    """The values of a tensor as uint8."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        values = tensor.float()
        if values.numel() and not bool(((values >= 0) & (values <= 1)).all()):
            low, high = values.min().item(), values.max().item()
            raise InputError(
                f"A floating-point tensor of images must hold values in 0..1; found {low:g} to {high:g}: give the images "
                "without normalising them."
            )
        return np.asarray((values.numpy() * 255).round().astype(np.uint8))
    if tensor.dtype != torch.uint8:
        raise InputError(f"A tensor of images must be uint8, or floating point in 0..1; found {tensor.dtype}.")
    return np.asarray(tensor.numpy())


def _single(tensor: Tensor) -> NDArray[Any]:
    """One image of a list, ``(c, h, w)``, ``(h, w, c)`` or ``(h, w)``."""
    found = image_list(tensor)
    if len(found) != 1:
        raise InputError(f"Each item of images must be one image; found a tensor of shape {tuple(tensor.shape)}.")
    return np.asarray(found[0])


def _split(array: NDArray[Any], *, channels_first: bool) -> Any:
    """The images of an array, each ``(h, w)`` or ``(h, w, c)``; ``channels_first`` decides ambiguous shapes."""
    if array.ndim == 4:
        first, last = array.shape[1] in CHANNELS, array.shape[3] in CHANNELS
        if first and (channels_first or not last):
            array = np.moveaxis(array, 1, 3)
        return _grey(array)
    if array.ndim == 3:
        first, last = array.shape[0] in CHANNELS, array.shape[2] in CHANNELS
        if channels_first and first:
            return _grey(np.moveaxis(array, 0, 2)[None])
        if last and not (first and array.shape[0] != 1):
            return _grey(array[None])
        if first and array.shape[0] != 1:
            raise InputError(
                f"An array of shape {array.shape} may be one image with its channels first, or {array.shape[0]} grey images: "
                "give a list of arrays (h, w) or (h, w, 3)."
            )
        if array.shape[2] == 2:
            raise InputError(
                f"An array of shape {array.shape} is probably a grey image with transparency: give the Pillow image, or "
                "an array of its mode RGBA."
            )
        if array.shape[2] <= MOST_BANDS and min(array.shape[:2]) >= MUCH_LONGER * array.shape[2]:
            height, width = array.shape[1:]
            raise InputError(
                f"An array of shape {array.shape} is probably one image with {width} channels: give 1, 3 or 4 of them, or, if it "
                f"holds grey images {width} wide and {height} high, a list of arrays (h, w)."
            )
        return array
    if array.ndim == 2:
        return array[None]
    raise InputError(f"{EXPECTED}; found an array of shape {array.shape}.")


def _grey(array: NDArray[Any]) -> NDArray[Any]:
    """``(n, h, w, 1)`` -> ``(n, h, w)``; colour images are returned unchanged."""
    return array[..., 0] if array.shape[3] == 1 else array
