"""The list of class names next to shards whose members hold numbers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import IO

from mgclip.errors import InputError, MGCLIPError, first_line
from mgclip.names import canonical
from mgclip.stream.remote import ABSENT, failure, is_address, status_of

CLASSES = ("classes.txt", "classnames.txt")
"""Files next to the shards that may list the class names, one on each line."""


def class_list(shard: str) -> list[str]:
    """The class names listed next to a shard; none without a list.

    Raises:
        InputError: If the list cannot be used.
        MGCLIPError: If it cannot be reached.
    """
    return _class_list(shard.rpartition("/")[0] if is_address(shard) else str(Path(shard).parent))


def forget_class_lists() -> None:
    """Read the lists of class names again when they are needed, because they may have changed."""
    _class_list.cache_clear()


def _opened(place: str) -> AbstractContextManager[IO[str]]:
    """Open a text file. A local path does not go through fsspec, to which ``::`` in it would mean something else."""
    import fsspec

    if is_address(place):
        opened: AbstractContextManager[IO[str]] = fsspec.open(place, "rt", encoding="utf-8-sig")
        return opened
    return Path(place).open(encoding="utf-8-sig")


def _check_once(names: Sequence[str], file: str) -> None:
    """Check that a list names each class once. Raises ``InputError`` if two lines have the same name."""
    lines: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if name and (first := lines.setdefault(canonical(name), number)) != number:
            raise InputError(f"Lines {first} and {number} of {file} next to the shards both name the class {name!r}: rename one.")


@lru_cache(maxsize=16)
def _class_list(folder: str) -> list[str]:
    """The class names listed in a folder of shards."""
    for file in CLASSES:
        try:
            with _opened(f"{folder}/{file}") as opened:
                names = [line.strip() for line in opened.read().rstrip().splitlines()]
        except UnicodeDecodeError as error:
            raise InputError(f"{file} next to the shards is not text in UTF-8 ({first_line(error)}): save it as UTF-8.") from None
        except Exception as error:  # file systems raise network and login errors of their own
            if _is_absent(error):
                continue
            raise MGCLIPError(
                f"{folder}/{file}, which may list the class names, cannot be read ({failure(error) or first_line(error)}): run "
                "the command again later."
            ) from error
        _check_once(names, file)
        if "" in names:
            raise InputError(
                f"Line {names.index('') + 1} of {file} next to the shards is empty: write the name of its class there."
            )
        return names
    return []


def _is_absent(error: Exception) -> bool:
    """Whether there is no such list. Object stores also forbid what does not exist if a reader may not list their content."""
    if status_of(error) in (HTTPStatus.FORBIDDEN, *ABSENT):
        return True
    return isinstance(error, FileNotFoundError | NotADirectoryError) and not failure(error)
