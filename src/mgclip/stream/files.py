"""Image files on disk: listing a folder, and a compact index of many files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgclip.names import is_missing
from mgclip.stream.data import Joined, Split, Subset
from mgclip.stream.walk import entries, is_file, is_image_name, subfolders


class ClassFiles(Sequence[Path]):
    """A compact index of image files, class by class. Items become ``Path`` objects on access.

    Names are stored as one array of bytes per class: as ``Path`` objects, the 1.28 million images of ImageNet-1K would take
    hundreds of megabytes.

    Args:
        root: The folder of all files.
        folders: The folder of each class below ``root``.
        names: For each class, the names of its files below its folder.
    """

    def __init__(self, root: Path, folders: Sequence[str], names: Iterable[Sequence[str]]) -> None:
        self.root, self.folders = root, tuple(folders)
        self.names: list[NDArray[np.bytes_]] = [np.array([os.fsencode(n) for n in each], dtype="S") for each in names]
        self.ends = np.cumsum([len(each) for each in self.names], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[int(index)]
        label = int(np.searchsorted(self.ends, position, side="right"))
        name = self.names[label][position - int(self.ends[label])]  # negative: counted from the end of the class
        return self.root / self.folders[label] / os.fsdecode(bytes(name))

    def split(self) -> Split:
        """The files with their labels."""
        return Split(self, np.repeat(np.arange(len(self.names), dtype=np.int64), [len(each) for each in self.names]))


def are_files(images: Sequence[Any]) -> bool:
    """Whether the items are paths, so that accessing one opens no file."""
    if isinstance(images, Subset) and isinstance(images.items, Joined):
        used = np.unique(np.searchsorted(images.items.ends, images.positions, side="right"))
        return all(are_files(images.items.parts[part]) for part in used)
    return isinstance(images.items if isinstance(images, Subset) else images, ClassFiles)


def image_name(images: Sequence[Any], position: int, part: str) -> str:
    """The name of an image for messages: its path, its place in a shard, or its number in the data set."""
    if are_files(images):
        return str(images[position])
    items, place = _of_data_set(images, position)
    if (name_of := getattr(items, "name_of", None)) is not None:  # an image in a shard
        return str(name_of(place))
    return f"image {image_id(images, position)} of {part}"


def image_id(images: Sequence[Any], position: int) -> str:
    """What identifies an image in its part of a data set: its path in the folder of the data, or its number. In a stream of
    several data sets, it begins with the name of its own.
    """
    items, place = _of_data_set(images, position)
    if isinstance(items, Joined):
        part, place = items.find(place)
        return f"{items.names[part]}/{image_id(items.parts[part], place)}"
    return items[place].relative_to(items.root).as_posix() if isinstance(items, ClassFiles) else str(place)


def image_group(images: Sequence[Any], position: int) -> str | None:
    """The group of an image, if the images of its data set have a method ``group_of``: images of one group are alike, as those of
    one drawing are. In a stream of several data sets, it begins with the name of its own.
    """
    items, place = _of_data_set(images, position)
    if isinstance(items, Joined):
        part, place = items.find(place)
        group = image_group(items.parts[part], place)
        return None if group is None else f"{items.names[part]}/{group}"
    group_of = getattr(items, "group_of", None)
    found = None if group_of is None else group_of(place)
    return None if is_missing(found) else str(found)


def _of_data_set(images: Sequence[Any], position: int) -> tuple[Sequence[Any], int]:
    """The images of the whole data set, and the position of an image among them."""
    return (images.items, int(images.positions[position])) if isinstance(images, Subset) else (images, position)


def folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted; none if it is not there. Raises ``InputError`` if it cannot be read."""
    return subfolders(folder) if folder.is_dir() else []


def images_in(folder: Path) -> list[str]:
    """The names of the image files in a folder, sorted; none if it is not there. Raises ``InputError`` if it cannot be read."""
    if not folder.is_dir():
        return []
    return [entry.name for entry in entries(folder) if is_image_name(entry.name) and is_file(entry)]


def listed_files(root: Path, classes: int, lines: Iterable[tuple[int, str]]) -> tuple[ClassFiles, list[str]]:
    """Find the files of a list, given as the label and the name below ``root`` of each. Returns those that exist, and the names
    of the others. Each folder is read once, and no file is checked by itself.
    """
    names: list[list[str]] = [[] for _ in range(classes)]
    there: dict[str, set[str]] = {}
    absent: list[str] = []
    for label, line in lines:
        folder, _, file = line.rpartition("/")
        if folder not in there:
            there[folder] = set(images_in(root / folder))
        (names[label] if file in there[folder] else absent).append(line)
    return ClassFiles(root, [""] * classes, names), absent
