"""The image files given to a command: files, folders, or a list on standard input as find, PowerShell and editors write it."""

from __future__ import annotations

import os
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mgclip.errors import InputError
from mgclip.home import in_home
from mgclip.missing import not_found

CHUNK = 1 << 16


def given_files(places: Sequence[str]) -> tuple[Iterator[Path], int | None]:
    """The image files in ``places``: files, folders, or ``-`` for a list on standard input, by line or by null character.

    Returns the files, and their number; None for a list, whose files are read as they arrive. Raises ``InputError`` if a file
    does not exist, a folder has no image, or ``-`` is not the only place.
    """
    if "-" not in places:
        files = _existing(places)
        return iter(files), len(files)
    if len(places) > 1:
        raise InputError("Give - alone: a list on standard input cannot be combined with other places.")
    return iter(()) if sys.stdin is None else map(_path, _names(sys.stdin.buffer)), None


def _existing(places: Sequence[str]) -> list[Path]:
    from mgclip.stream.folder import image_files

    files: list[Path] = []
    for place in map(Path, places):
        found = image_files(place) if place.is_dir() else [place]
        if not found:
            raise InputError(f"{place} contains no image file.")
        files += found
    if absent := [file for file in files if not file.is_file()]:
        raise not_found("image file", absent[0])
    return files


def _names(stream: IO[bytes]) -> Iterator[str]:
    start = stream.peek(1) if hasattr(stream, "peek") else b""
    if start.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        names: Iterator[bytes] = iter(stream.read().decode("utf-16", "replace").encode().splitlines())
    elif b"\0" in start:
        names = _between_nulls(stream)
    else:
        names = (line.rstrip(b"\r\n") for line in stream)
    for number, name in enumerate(names):
        try:
            text = os.fsdecode(name if number else name.removeprefix(BOM_UTF8))
        except UnicodeDecodeError:  # on Windows, where names of files are text
            raise InputError(f"Line {number + 1} of the list on standard input is not UTF-8: write the list in UTF-8.") from None
        if text.strip():
            yield text


def _between_nulls(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while more := os.read(stream.fileno(), CHUNK) if not hasattr(stream, "read1") else stream.read1(CHUNK):
        *names, rest = (rest + more).split(b"\0")
        yield from names
    yield rest


def _path(name: str) -> Path:
    """The file of a name on the list, without surrounding quotes unless a file has them in its name."""
    quoted = len(name) > 2 and name[0] == name[-1] and name[0] in "\"'"
    if quoted and not os.path.lexists(name.replace("\0", "")):
        name = name[1:-1]
    return Path(in_home(name))
