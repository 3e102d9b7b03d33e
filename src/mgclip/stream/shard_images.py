"""Shards on this machine as a data set: every image can be looked up, because a run uses images in several passes and by class.

The index takes 32 bytes per image, and images are read when they are used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgclip.errors import DamagedShard, InputError, MGCLIPError, first_line
from mgclip.images import MemberImage
from mgclip.names import canonical, check_distinguishable
from mgclip.stream.data import Dataset, Split
from mgclip.stream.layout import EMPTY_SPLIT, FoundDataset
from mgclip.stream.parquet_shards import forget_row_groups, parquet_places, row_image
from mgclip.stream.remote import is_address
from mgclip.stream.shards import Shard, ending, find_shards
from mgclip.stream.tar_shards import tar_places

PLACES = {".tar": tar_places, ".parquet": parquet_places}
"""What finds the places of the images in a file with an ending."""


class Place(NamedTuple):
    """Where an image is in a shard: offset and size in a tar file, row group and row in a Parquet file; and its class."""

    start: int
    length: int
    label: str


class ShardImages(Sequence[MemberImage]):
    """The images of shards, read on access.

    Args:
        shards: The paths of the shards.
        places: For each image its shard, and its offset and size, or its row group and row, ``(n, 3)``.
        written: The size and the time of each shard when its places were found.
    """

    def __init__(self, shards: Sequence[str], places: NDArray[np.int64], written: Sequence[tuple[int, int]]) -> None:
        self.shards, self.places, self.written = tuple(shards), places, tuple(written)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        number, start, length = self.places[index].tolist()
        shard = self.shards[number]
        if _written(shard) != self.written[number]:  # another image may be in this place, and the labels are those of before
            raise MGCLIPError(
                f"The shard {shard} was changed, moved or removed during the command: restore it and run the command again."
            )
        if _is_parquet(shard):
            return MemberImage(row_image(shard, start, length), self.name_of(index))
        with Path(shard).open("rb") as file:
            file.seek(start)
            return MemberImage(file.read(length), self.name_of(index))

    def name_of(self, index: Any) -> str:
        """The name of an image for messages: its shard, and its place there. It is not read."""
        number, start, length = self.places[index].tolist()
        shard = self.shards[number]
        return f"{shard}: row {length} of row group {start}" if _is_parquet(shard) else f"{shard}: byte {start}"

    def digest(self, positions: Any) -> str:
        """A digest of the images at ``positions`` (an index of an array): their places, and the names and sizes of all shards."""
        shards = [f"{Path(shard).name}:{Path(shard).stat().st_size}" for shard in self.shards]
        content = "\0".join(shards).encode("utf-8", "surrogatepass") + self.places[positions].tobytes()
        return hashlib.sha256(content).hexdigest()[:16]


def _written(shard: str) -> tuple[int, int]:
    """The size of a shard and the time of its last change; -1 if there is no such file."""
    try:
        about = Path(shard).stat()
    except FileNotFoundError:
        return -1, -1
    return about.st_size, about.st_mtime_ns


def _is_parquet(shard: str) -> bool:
    return shard.lower().endswith(".parquet")


def find_shard_dataset(path: Path, *, test_only: bool) -> FoundDataset | None:
    """The data set in a folder of shards.

    Args:
        path: The folder.
        test_only: Leave the training part empty.

    Returns:
        The data set, with its classes in alphabetical order; None if the folder has no shards.

    Raises:
        InputError: If there is no part to train or to test on, a shard is damaged, compressed or elsewhere, two class names look
            alike, or a class to test on is not one to learn.
    """
    forget_row_groups()
    found = find_shards(str(path))
    if found is None:
        return None
    if test_only:
        parts = [[], found.test or found.train]
    elif not found.test:
        raise InputError(
            f"{path} contains no test shards: expected files or folders with the words train and test in their names."
        )
    else:
        parts = [found.train, found.test]
    (train, train_names), (test, test_names) = map(_indexed, parts)
    names = sorted({*train_names} or {*test_names})
    check_distinguishable(names)
    if unknown := sorted({*test_names} - {*names}):
        raise InputError(
            f"The class {unknown[0]!r} is in the test shards of {path} but not in the training shards: add training "
            "images of it, or remove it."
        )
    position = {name: label for label, name in enumerate(names)}
    splits = [
        Split(images, np.array([position[name] for name in own], dtype=np.int64)) if own else EMPTY_SPLIT
        for images, own in ((train, train_names), (test, test_names))
    ]
    return FoundDataset(Dataset(path.name, tuple(names), *splits), str(path))


def _indexed(shards: Sequence[Shard]) -> tuple[ShardImages, list[str]]:
    """The images of shards, and their classes."""
    rows: list[tuple[int, int, int]] = []
    labels: list[str] = []
    names: dict[str, str] = {}  # the images of a class share one text
    written = [_written(shard.name) for shard in shards]
    for number, shard in enumerate(shards):
        for start, length, label in _places(shard):
            rows.append((number, start, length))
            labels.append(names.setdefault(label, canonical(label)))
    return ShardImages([shard.name for shard in shards], np.array(rows, dtype=np.int64).reshape(-1, 3), written), labels


def _places(shard: Shard) -> Iterator[Place]:
    """The places of the images in a shard."""
    kind = ending(shard.name)
    if kind not in PLACES or is_address(shard.name):
        raise InputError(
            f"A run reads images several times, which {shard.name} does not allow: put the shards on this machine, as .tar or "
            ".parquet without further compression."
        )
    try:
        for place in PLACES[kind](shard.name, shard.label):
            yield Place(*place)
    except InputError:
        raise
    except Exception as error:  # pyarrow and tarfile raise many types
        raise DamagedShard(shard.name, "to its end", first_line(error)) from None
