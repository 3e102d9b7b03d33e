"""A digest of a stream's data, to detect changes before a run is resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from mgclip.stream.data import PARTS, Split, Subset
from mgclip.stream.files import are_files
from mgclip.stream.shard_images import ShardImages
from mgclip.stream.tasks import Task
from mgclip.words import count

SIZES_CHECKED = 2000
"""Files of each part of a task whose size is checked; of all others, only the name counts."""
ARRAYS_CHECKED = 8
"""Images of each part of a task whose pixels are checked, if they are arrays and not files."""


class DataPart(TypedDict):
    """The number of images of one part of a task, a digest of their labels and files, and one of pixels if they are arrays."""

    images: Annotated[int, Field(ge=0)]
    digest: str
    pixels: NotRequired[str]


class DataTask(TypedDict):
    """The data of one task of a stream."""

    classes: list[str]
    train: DataPart
    test: DataPart


def fingerprint(stream: Sequence[Task]) -> dict[str, DataTask]:
    """The classes of each task; and of each of its parts, the number of images and a digest of labels, file names and sizes.

    Images that are arrays have no name, so the pixels of some are recorded.
    """
    return {
        f"task {task.index + 1}": {"classes": list(task.names), "train": _part(task.train), "test": _part(task.test)}
        for task in stream
    }


def difference(before: Mapping[str, DataTask], now: Mapping[str, DataTask]) -> str | None:
    """The first difference, in a few words; None if there is none."""
    for name in before.keys() | now.keys():
        if name not in before or name not in now:
            return f"{count(len(before), 'task')} then, {len(now)} now"
    for name, task in before.items():
        was, is_now = task["classes"], now[name]["classes"]
        if was != is_now:
            return f"{name}: its classes were {', '.join(was[:3])}, ... and are {', '.join(is_now[:3])}, ..."
        for part in PARTS:
            if _differ(task[part], now[name][part]):
                return f"{name}: {_words(part, task[part], now[name][part])}"
    return None


def _differ(was: DataPart, is_now: DataPart) -> bool:
    """Whether two parts differ in something that both record. Earlier versions did not record pixels."""
    return any(was[key] != is_now[key] for key in was.keys() & is_now.keys())  # type: ignore[literal-required]


def _words(part: str, was: DataPart, now: DataPart) -> str:
    if was["images"] != now["images"]:
        return f"{count(was['images'], f'{part} image')} then, {now['images']:,} now"
    return f"its {part} images are different, or in another order"


def _part(split: Split) -> DataPart:
    digest = hashlib.sha256(split.labels.tobytes())
    for entry in _file_entries(split.images):
        digest.update(entry)
    part: DataPart = {"images": len(split.labels), "digest": digest.hexdigest()[:16]}
    if (pixels := _pixels(split.images)) is not None:
        part["pixels"] = pixels
    return part


def _pixels(images: Sequence[Any]) -> str | None:
    """A digest of some images, evenly spaced; None if they are files or not arrays."""
    number = 0 if are_files(images) else len(images)
    digest = hashlib.sha256()
    for index in range(0, number, max(1, -(-number // ARRAYS_CHECKED))):
        image = images[index]
        if not isinstance(image, np.ndarray):
            return None
        digest.update(f"{image.shape} {image.dtype}".encode() + image.tobytes())
    return digest.hexdigest()[:16] if number else None


def _file_entries(images: Sequence[Any]) -> Iterable[bytes]:
    """Name of every image that is a file, and the size of some; of others, the names and sizes of their shards, and their places
    in these. The path of the data does not count, so that it may move.
    """
    items = images.items if isinstance(images, Subset) else images
    if isinstance(items, ShardImages):
        yield from (os.fsencode(f"{Path(shard).name}:{Path(shard).stat().st_size}\0") for shard in items.shards)
        yield items.places[images.positions if isinstance(images, Subset) else slice(None)].tobytes()
    every = max(1, len(images) // SIZES_CHECKED)
    for index in range(len(images) if are_files(images) else 0):
        image = images[index]
        size = image.stat().st_size if index % every == 0 else 0
        yield os.fsencode(f"{image.parent.name}/{image.name}:{size}\0")
