"""Tar shards (WebDataset): members of one image share the name before the first full stop, such as ``12.jpg`` and ``12.cls``."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from mgclip.errors import InputError
from mgclip.image_formats import file_extensions
from mgclip.stream.parquet_shards import LABELS

CLASSES = ("classes.txt", "classnames.txt")
"""Files next to the shards that may list the class names, one on each line, if the members hold numbers."""


class _Watched:
    """A file that notes whether it was read to its end. Readers of a complete archive stop at a mark before that."""

    def __init__(self, file: Any) -> None:
        self.file, self.ended = file, False
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> Any:
        data = self.file.read(size)
        self.ended |= not data
        return data


def tar_items(name: str, label: str) -> Iterator[tuple[bytes, str, str]]:
    """Read the images of a tar shard.

    Args:
        name: Its path or address.
        label: The member or JSON key with the class of an image; empty finds it.

    Yields:
        The bytes of an image, its class, and its name in the shard.

    Raises:
        InputError: If an image has no class, or there is no image. If the shard is damaged, tarfile raises many other types.
    """
    import fsspec

    with fsspec.open(name, "rb") as file:
        yield from _items(name, label, file, "r|*", _read)


def tar_places(name: str, label: str) -> Iterator[tuple[int, int, str]]:
    """Index the images of a tar shard on this machine that is not compressed.

    Args:
        name: Its path.
        label: The member or JSON key with the class of an image; empty finds it.

    Yields:
        The offset and the size of an image in bytes, and its class.

    Raises:
        InputError: As ``tar_items`` does.
    """

    def place(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
        return (member.offset_data, member.size) if _is_image(member.name) else _read(archive, member)

    with Path(name).open("rb") as file:
        for (start, size), class_name, _ in _items(name, label, file, "r:", place):
            yield start, size, class_name


def _items(name: str, label: str, file: Any, mode: str, read: Callable[[tarfile.TarFile, tarfile.TarInfo], Any]) -> Iterator[Any]:
    """What was read of each image in an archive, its class and its name."""
    found, watched = False, _Watched(file)
    with tarfile.open(fileobj=watched, mode=mode) as archive:  # type: ignore[call-overload]
        for members in _groups(archive, read):
            item = _item(name, members, label)
            if item is not None:
                found = True
                yield item
    if watched.ended:
        raise EOFError("the archive ends too early")
    if not found:
        raise InputError(f"The shard {name} has no image: leave it out.")


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _is_image(name: str) -> bool:
    return f".{name.rpartition('.')[2].lower()}" in file_extensions()


def _groups(archive: tarfile.TarFile, read: Callable[[tarfile.TarFile, tarfile.TarInfo], Any]) -> Iterator[dict[str, Any]]:
    """What was read of the members of each image, by full name, in the order of the archive."""
    group: dict[str, Any] = {}
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # otherwise tarfile keeps all of them
        if not member.isreg() or member.name.rpartition("/")[2].startswith("."):
            continue
        if group and _key(member.name) != _key(next(iter(group))):
            yield group
            group = {}
        group[member.name] = read(archive, member)
    if group:
        yield group


def _key(name: str) -> str:
    """The part of a name that the members of one image share."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _item(shard: str, members: dict[str, Any], label: str) -> tuple[Any, str, str] | None:
    """The image of a group of members with its class; None if there is no image among them."""
    images = [name for name in members if _is_image(name)]
    if not images:
        return None
    if len(images) > 1:
        raise InputError(f"{images[0]} and {images[1]} in {shard} are two images with the same name: give each its own name.")
    value = _label({name.partition(".")[2].rpartition("/")[2].lower(): data for name, data in members.items()}, label)
    if value is None or value == "":
        wanted = f"{label!r} as a member or a key of a JSON member" if label else "a member .cls, .json or .txt with the class"
        raise InputError(f"The image {images[0]} in {shard} has no class: expected {wanted}; --label names another one.")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InputError(
            f"The class of the image {images[0]} in {shard} is {json.dumps(value)[:80]}: expected a text or a whole number; "
            "--label names another key."
        )
    return members[images[0]], _class_name(str(value), shard, images[0]), images[0]


def _label(members: dict[str, Any], label: str) -> Any:
    """The class in the members of one image, by their extensions."""
    about = json.loads(members["json"]) if "json" in members else {}
    about = about if isinstance(about, dict) else {}
    if label:
        found = members[label].decode() if label in members else about.get(label)
    elif "cls" in members:
        found = members["cls"].decode()
    elif key := next((key for key in LABELS if key in about), ""):
        found = about[key]
    else:
        found = members["txt"].decode() if "txt" in members else None
    return found.strip() if isinstance(found, str) else found


def _class_name(value: str, shard: str, image: str) -> str:
    """The class with this name, or with this number in the list next to the shard."""
    if not value.removeprefix("-").isdecimal():
        return value
    names = _class_list(shard.rpartition("/")[0])
    if 0 <= int(value) < len(names):
        return names[int(value)]
    expected = f"which is not among the {len(names)} of {CLASSES[0]}" if names else "and there is no list of names"
    raise InputError(
        f"The image {image} in {shard} has the class number {value}, {expected}: put {CLASSES[0]} next to the shards, with one "
        "class name on each line, the one of class 0 first."
    )


@lru_cache(maxsize=16)
def _class_list(folder: str) -> list[str]:
    """The class names listed in a folder of shards; none without a list. Raises ``InputError`` for an empty line in it."""
    import fsspec

    for file in CLASSES:
        try:
            with fsspec.open(f"{folder}/{file}" if folder else file, "rt", encoding="utf-8-sig") as opened:
                names = [line.strip() for line in opened.read().rstrip().splitlines()]
        except (OSError, ValueError):
            continue
        if "" in names:
            raise InputError(
                f"Line {names.index('') + 1} of {file} next to the shards is empty: write the name of its class there."
            )
        return names
    return []
