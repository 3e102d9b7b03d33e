"""Find image files with the same content: test images that are also training images, and copies in one class or in two."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from mgclip.words import are, count

HEAD = 4096
"""Bytes at the start of a file that tell most files of one size apart."""


def find_duplicates(train: Sequence[Path], test: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each test image that is a duplicate, and the first training image with the same content. Only files of equal size are
    read, and none is decoded. Unreadable files are ignored.
    """
    found: dict[int, Path] = {}
    for places in _same_content([*train, *test], lambda places: places[0] < len(train) <= places[-1]):
        found |= {place: train[places[0]] for place in places if place >= len(train)}
    return [(test[place - len(train)], found[place]) for place in sorted(found)]


def find_in_two_classes(classes: Mapping[str, Sequence[Path]]) -> list[tuple[Path, Path]]:
    """Each image file that has the same content as an earlier one of another class, and that one."""
    files = [file for own in classes.values() for file in own]
    names = [name for name, own in classes.items() for _ in own]
    found = []
    for places in _same_content(files, lambda places: len({names[place] for place in places}) > 1):
        found += [(files[place], files[places[0]]) for place in places if names[place] != names[places[0]]]
    return found


def find_in_one_class(files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each image file of a class that has the same content as an earlier one, and the first of these."""
    groups = _same_content(files, lambda places: len(places) > 1)
    return [(files[place], files[places[0]]) for places in groups for place in places[1:]]


def describe_duplicates(train: Sequence[Path], test: Sequence[Path]) -> str | None:
    """One sentence about the duplicates; None if there are none."""
    found = find_duplicates(train, test)
    if not found:
        return None
    copy, original = found[0]
    of_tests = f"{len(found):,} of {count(len(test), 'test image')} {are(len(found))}"
    return f"{of_tests} also among the training images, such as {copy} and {original}"


def _same_content(files: Sequence[Path], matters: Callable[[list[int]], bool]) -> list[list[int]]:
    """The positions of files with the same content, in groups; only groups that matter are read."""
    groups = [list(range(len(files)))]
    for key in (_size, _head, _content):
        groups = [part for group in groups for part in _split(files, group, key) if matters(part)]
    return groups


def _split(files: Sequence[Path], group: Iterable[int], key: Callable[[Path], Hashable]) -> list[list[int]]:
    parts: dict[Hashable, list[int]] = {}
    for place in group:
        try:
            parts.setdefault(key(files[place]), []).append(place)
        except OSError:
            continue
    return list(parts.values())


def _size(file: Path) -> int:
    return file.stat().st_size


def _head(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.read(HEAD)


def _content(file: Path) -> bytes:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).digest()
