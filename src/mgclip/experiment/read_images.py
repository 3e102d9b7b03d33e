"""Notice that an image has changed since a run first read it: the run keeps a digest of the content of each image it has read.

Only what is read again can make a resumed run differ from one without a stop, so nothing else needs to be checked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgclip.clip import parallel
from mgclip.clip.pixels import PreparedImages
from mgclip.disk import replace_file
from mgclip.errors import InputError
from mgclip.stream.data import PARTS, Dataset, Subset
from mgclip.stream.files import image_name
from mgclip.stream.tasks import Task
from mgclip.words import count

DIGESTS = "digests-{}.bin"
"""The file of one process: a digest of 8 bytes for each image of the run, 0 for an image that was not read."""
SIZE = 8


class ReadImages:
    """The digests of the images that a run has read, now and before it was resumed.

    Args:
        folder: The folder of the run.
        stream: Its tasks.
        retention_sets: Data sets that it measures retention on.

    Raises:
        InputError: If the run had another number of images when it was started.
    """

    def __init__(self, folder: Path, stream: Sequence[Task], retention_sets: Mapping[str, Dataset]) -> None:
        parts: dict[str, list[Sequence[Any]]] = {part: [getattr(task, part).images for task in stream] for part in PARTS}
        parts |= {f"retention {name}": [data.test.images] for name, data in retention_sets.items()}
        self.folder = folder
        # The order in a part is that of the data set, which all methods share, whatever tasks they make of it.
        self._places = {part: np.sort(np.concatenate([_places(each) for each in images])) for part, images in parts.items()}
        self._first = dict(zip(parts, np.cumsum([0, *map(len, self._places.values())]).tolist(), strict=False))
        size = sum(map(len, self._places.values()))
        self.before = _earlier(folder, size)
        self.noted = np.zeros(size, dtype=bool)
        parallel.wait()  # until every process has read what another one is about to write
        file = folder / DIGESTS.format(parallel.rank_and_world_size()[0])
        replace_file(file, self.before.tobytes())  # also replaces a link by a file, which is then written in place
        self._file, self._lock = os.open(file, os.O_WRONLY | getattr(os, "O_BINARY", 0)), Lock()

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def watch(self, part: str, pixels: PreparedImages) -> PreparedImages:
        """Compare these images of a part with what was read before, and note what they are, when they are read."""
        rows = self._first[part] + np.searchsorted(self._places[part], _places(pixels.images))
        pixels.observer = _Observer(self, rows, pixels.images, part)
        return pixels

    def note(self, row: int, digest: int) -> None:
        """Store the digest of an image. It is written at once, so that a process that is killed loses none."""
        with self._lock:
            os.lseek(self._file, row * SIZE, os.SEEK_SET)
            os.write(self._file, digest.to_bytes(SIZE, "little"))
            self.noted[row] = True


class _Observer:
    """Compares and notes the images of one set; ``rows`` are their places in the file."""

    def __init__(self, read: ReadImages, rows: NDArray[np.int64], images: Sequence[Any], part: str) -> None:
        self.read, self.rows, self.images, self.part = read, rows, images, part

    def expects(self, position: int) -> bool:
        """Whether this process has not read the image yet."""
        return not self.read.noted[self.rows[position]]

    def observe(self, position: int, digest: bytes) -> None:
        """Compare an image with what it was before. Raises ``InputError`` if it has changed."""
        row, found = int(self.rows[position]), int.from_bytes(digest[:SIZE], "little")
        if (before := int(self.read.before[row])) and before != found:
            name = image_name(self.images, position, self.part)
            raise InputError(
                f"The data has changed since {self.read.folder} was started ({name} has other content): restore it, or start a "
                "new run."
            )
        self.read.note(row, found)


def _places(images: Sequence[Any]) -> NDArray[np.int64]:
    """The place of each image in its data set."""
    return images.positions if isinstance(images, Subset) else np.arange(len(images))


def _earlier(folder: Path, size: int) -> NDArray[np.uint64]:
    """The digests of the processes that ran before; a run of an earlier version has none."""
    found = np.zeros(size, dtype="<u8")
    for file in sorted(folder.glob(DIGESTS.format("*"))):
        content = file.read_bytes()
        if len(content) != size * SIZE:
            raise InputError(
                f"The data has changed since {folder} was started ({count(len(content) // SIZE, 'image')} then, {size:,} now): "
                "restore it, or start a new run."
            )
        found = np.maximum(found, np.frombuffer(content, dtype="<u8"))
    return found
