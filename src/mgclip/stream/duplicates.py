"""Which images of one part are files of another part too: what is measured on such an image says little."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def find_duplicates(train: Sequence[Path], test: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Files with the same content. Only files of equal size are read, and none is decoded.

    Args:
        train: Files trained on.
        test: Files measured on.

    Returns:
        For each test file that has one, itself and the first training file with its content; files that cannot be read have none.
    """
    sizes = [_size(file) for file in test]
    wanted = set(sizes) - {None}
    by_content: dict[bytes, Path] = {}
    alike: set[int | None] = set()
    for file in train:
        size = _size(file)
        if size in wanted and (content := _content(file)) is not None:
            by_content.setdefault(content, file)
            alike.add(size)
    found = []
    for file, size in zip(test, sizes, strict=True):
        content = _content(file) if size in alike else None
        if content is not None and content in by_content:
            found.append((file, by_content[content]))
    return found


def describe_duplicates(train: Sequence[Path], test: Sequence[Path]) -> str | None:
    """One sentence on the files with the same content, or ``None`` if there is none."""
    found = find_duplicates(train, test)
    if not found:
        return None
    mine, other = found[0]
    return f"{len(found)} of {len(test)} test images are training images too, such as {mine} and {other}"


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
