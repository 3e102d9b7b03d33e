"""Published metadata of the data sets: class names in order, synsets, splits. The files are in ``stream/metadata``."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

from mgclip.names import canonical


def _read(file: str) -> bytes:
    return (files("mgclip") / "stream" / "metadata" / file).read_bytes()


@cache
def column(table: str, name: str) -> tuple[str, ...]:
    """A column of a table of classes, in the data set's own order: a file, or ``FILE#DATA`` for one of several in a file."""
    file, _, data = table.partition("#")
    header, *rows = (line.split("\t") for line in _read(file).decode("utf-8").splitlines())
    position = header.index(name)
    return tuple(row[position] for row in rows if data in ("", row[0]))


def class_names(table: str) -> tuple[str, ...]:
    """The class names of a table of classes."""
    return column(table, "name")


@cache
def imagenet_r_test_files() -> frozenset[str]:
    """The 6,000 test images of the published split of ImageNet-R, as ``nXXXXXXXX/FILE``; all others are training images."""
    listed = gzip.decompress(_read("imagenet_r_test_split.txt.gz")).decode("utf-8").split()
    # The published list has a 6,001st line: a script that was in a class folder.
    return frozenset(line for line in listed if line.endswith(".jpg"))


def fold(name: str) -> str:
    """A name without case, spaces, underscores, hyphens and slashes, to match the spellings of a class in folders and lists."""
    return "".join(letter for letter in canonical(name).casefold() if letter not in " _-/")
