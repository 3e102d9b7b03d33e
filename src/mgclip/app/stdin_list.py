"""A list of image files on standard input, as find, ls, PowerShell and editors write it."""

from __future__ import annotations

import os
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mgclip.errors import InputError

CHUNK = 1 << 16


def listed_files(places: Sequence[str]) -> Iterator[Path]:
    """The files named on standard input, one a line or separated by null characters, as they come.

    Raises ``InputError`` if ``-``, which stands for the list, is not the only one of ``places``.
    """
    if len(places) > 1:
        raise InputError("Give - alone: a list on standard input cannot be mixed with other places.")
    return iter(()) if sys.stdin is None else map(_path, _names(sys.stdin.buffer))


def _names(stream: IO[bytes]) -> Iterator[str]:
    begin = stream.peek(1) if hasattr(stream, "peek") else b""
    if begin.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        names: Iterator[bytes] = iter(stream.read().decode("utf-16", "replace").encode().splitlines())
    elif b"\0" in begin:
        names = _between_nulls(stream)
    else:
        names = (line.rstrip(b"\r\n") for line in stream)
    for number, name in enumerate(names):
        text = os.fsdecode(name if number else name.removeprefix(BOM_UTF8))
        if text.strip():
            yield text


def _between_nulls(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while more := os.read(stream.fileno(), CHUNK) if not hasattr(stream, "read1") else stream.read1(CHUNK):
        *names, rest = (rest + more).split(b"\0")
        yield from names
    yield rest


def _path(name: str) -> Path:
    """The file of a name on the list: without the quotes that surround it, unless there is a file that has them."""
    quoted = len(name) > 2 and name[0] == name[-1] and name[0] in "\"'"
    if quoted and not os.path.lexists(name.replace("\0", "")):
        name = name[1:-1]
    return Path(name).expanduser()
