"""Decompress a file whose content may be compressed, from its first byte to its last.

tarfile would read only the first of several compressed streams, as parallel programs and ``cat`` write them.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable
from typing import Any

COMPRESSIONS: dict[bytes, Callable[[Any], Any]] = {
    rb"\x1f\x8b\x08": gzip.open,
    rb"BZh[1-9]1AY&SY": bz2.open,
    rb"\xfd7zXZ\x00|\x5d\x00\x00\x80": lzma.open,
}
"""A pattern of the first bytes of a compressed file -> what opens it. An archive that is not compressed begins with a name."""

START = 10
"""Bytes that decide whether a file is compressed."""


class _FromStart:
    """A file of which the first bytes were read already. Not all files elsewhere can go back."""

    def __init__(self, start: bytes, file: Any) -> None:
        self.start, self.file = start, file

    def read(self, size: int = -1) -> Any:
        if not self.start:
            return self.file.read(size)
        end = len(self.start) if size < 0 else size
        data, self.start = self.start[:end], self.start[end:]
        return data if size >= 0 else data + self.file.read()


class _InSteps:
    """A compressed file that gives what one step decompresses. Of a larger read, what comes before the damage would be lost."""

    def __init__(self, file: Any) -> None:
        self.read = file.read1


def decompressed(file: Any) -> Any:
    """Return a file that reads the decompressed content of another one, which is compressed or not."""
    start = file.read(START)
    for first, opened in COMPRESSIONS.items():
        if re.match(first, start):
            return _InSteps(opened(_FromStart(start, file)))
    return _FromStart(start, file)
