"""Find test images that are also training images: a measurement on them says little."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def find_duplicates(train: Sequence[Path], test: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each test image that is a duplicate, and the first training image with the same content. Only files of equal size are
    read, and none is decoded. Unreadable files are ignored.
    """
    wanted = {_size(file) for file in test}
    originals: dict[bytes | None, Path] = {}
    for file in train:
        if _size(file) in wanted and (content := _content(file)) is not None:
            originals.setdefault(content, file)
    shared = {_size(file) for file in originals.values()}
    copies = ((file, _content(file)) for file in test if _size(file) in shared)
    return [(file, originals[content]) for file, content in copies if content in originals]


def describe_duplicates(train: Sequence[Path], test: Sequence[Path]) -> str | None:
    """One sentence about the duplicates; None if there are none."""
    found = find_duplicates(train, test)
    if not found:
        return None
    copy, original = found[0]
    return f"{len(found)} of {len(test)} test images are also training images, such as {copy} and {original}"


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def _content(file: Path) -> bytes | None:
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=16).digest()
    except OSError:
        return None
