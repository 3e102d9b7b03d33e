"""Paths that name no file or folder, and the errors about them: nothing is there, or the path is an address."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mgclip.errors import InputError

SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)
"""The beginning of an address, or of a path that was made from one: it has only one of the slashes."""


def is_file(name: str | os.PathLike[str]) -> bool:
    """Whether a file has this name."""
    return os.path.isfile(name)  # noqa: PTH113  (pathlib raises an error if the name is too long)


def not_found(what: str, place: str | os.PathLike[str], advice: str = "") -> InputError:
    """The error of a ``place`` that does not exist.

    Args:
        what: What it would be, such as *image file* or *folder*.
        place: A path or an address.
        advice: What to do if it is a path.
    """
    name = as_given(place)
    if "://" not in name:
        return InputError(f"There is no {what} {name}{f': {advice}' if advice else ''}.")
    article = "an" if what[0] in "aeiou" else "a"
    return InputError(f"{name} is an address, not {article} {what}: download the {what.removesuffix(' file')} and give its path.")


def refuse_address(place: Path, what: str = "folder") -> None:
    """Raise ``InputError`` if a file or folder to write is an address, for which Python creates folders such as ``https:``.

    Args:
        place: What is to be written.
        what: What it is.
    """
    name = as_given(place)
    if "://" in name and not place.exists():
        raise InputError(f"{name} is an address, not a {what}: give a {what} on this machine.")


def as_given(place: str | os.PathLike[str]) -> str:
    """Return a path as text, and an address with all slashes of its beginning, although a path has only one of them."""
    text = str(place)
    if "://" in text or (found := SCHEME.match(text)) is None:
        return text
    slashes = "///" if found[1].lower() == "file" else "//"
    return f"{found[1]}:{slashes}{text[found.end() :]}"
