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

from mgclip.home import in_home
from mgclip.stream.data import PARTS, Split, Subset, of_one_data_set
from mgclip.stream.files import are_files
from mgclip.stream.shard_images import ShardImages
from mgclip.stream.tasks import Task
from mgclip.words import count

SIZES_CHECKED = 2000
"""Files of each part of a task whose size is checked; of all others, only the name counts."""
PIXELS_CHECKED = 8
"""Images of each part of a task whose pixels are checked, if they are not files."""


class DataPart(TypedDict):
    """The number of images of one part of a task, a digest of their labels and of files in the folder of the data; and for other
    images a digest of the pixels of some, or of the names and sizes of their files.
    """

    images: Annotated[int, Field(ge=0)]
    digest: str
    pixels: NotRequired[str]


class DataTask(TypedDict):
    """The data of one task of a stream; ``returning``: the stream's labels of earlier classes with images in it."""

    classes: list[str]
    returning: NotRequired[list[int]]
    train: DataPart
    test: DataPart


def fingerprint(stream: Sequence[Task]) -> dict[str, DataTask]:
    """The classes of each task; and of each of its parts, the number of images and a digest of labels, file names and sizes.

    Images without a name are arrays or Pillow images, so the pixels of some are recorded.
    """
    found: dict[str, DataTask] = {}
    for task in stream:
        own: DataTask = {"classes": list(task.names), "train": _part(task.train), "test": _part(task.test)}
        found[f"task {task.index + 1}"] = {**own, "returning": list(task.returning)} if task.returning else own
    return found


def difference(before: Mapping[str, DataTask], now: Mapping[str, DataTask]) -> str | None:
    """The first difference, in a few words; None if there is none."""
    for name in before.keys() | now.keys():
        if name not in before or name not in now:
            return f"{count(len(before), 'task')} then, {len(now)} now"
    for name, task in before.items():
        was, is_now = task["classes"], now[name]["classes"]
        if was != is_now:
            return f"{name}: its classes were {', '.join(was[:3])}, ... and are {', '.join(is_now[:3])}, ..."
        if task.get("returning") != now[name].get("returning"):
            return f"{name}: other classes come back"
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
    digest, images, indexed = hashlib.sha256(split.labels.tobytes()), split.images, are_files(split.images)
    for entry in _file_entries(images) if indexed else ():
        digest.update(entry)
    part: DataPart = {"images": len(split.labels), "digest": digest.hexdigest()[:16]}
    if not indexed and (content := _content(images)) is not None:
        part["pixels"] = content
    return part


def _content(images: Sequence[Any]) -> str | None:
    """A digest of images that are not in an index of files; None if some are neither paths nor pixels."""
    own = of_one_data_set(images)
    items = own.items if isinstance(own, Subset) else own
    if isinstance(items, ShardImages):
        return items.digest(own.positions if isinstance(own, Subset) else slice(None))
    chosen = range(0, len(images), max(1, -(-len(images) // PIXELS_CHECKED)))
    sample = [_opened(images, index) for index in chosen]
    if sample and all(isinstance(image, str | os.PathLike) for image in sample):
        entries: list[bytes | None] = list(_file_entries([Path(in_home(file)) for file in images]))
    else:
        entries = [_pixels(image) for image in sample]
    return None if not entries or None in entries else hashlib.sha256(b"".join(filter(None, entries))).hexdigest()[:16]


def _opened(images: Sequence[Any], index: int) -> Any:
    """An image; ``b""`` if it cannot be opened, which is reported when it is learned."""
    try:
        return images[index]
    except Exception:  # data sets of other libraries may raise anything
        return b""


def _pixels(image: Any) -> bytes | None:
    """What distinguishes images: shape, type and values; None for an object that is not an array."""
    array = np.asarray(image)
    return None if array.dtype.hasobject else f"{array.shape} {array.dtype}".encode() + array.tobytes()


def _file_entries(images: Sequence[Path]) -> Iterable[bytes]:
    """Name of every image file, and the size of some. The path of the data does not count, so that it may move."""
    every = max(1, len(images) // SIZES_CHECKED)
    for index in range(len(images)):
        image = images[index]
        size = image.stat().st_size if index % every == 0 and image.is_file() else 0
        yield os.fsencode(f"{image.parent.name}/{image.name}:{size}\0")
