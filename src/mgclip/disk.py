"""Files that are whole or as they were: written beside, brought to disk, then renamed."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The system's numbers for a disk, or a share of one, that is full."""


def replace_file(file: Path, content: bytes) -> None:
    """Put a new file in a file's place, whole or not at all; what either name links to is not touched."""
    fresh = file.with_name(temporary_name(file.name))
    fresh.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        fresh.replace(file)
    except OSError:  # no space: what was written of it takes some
        fresh.unlink(missing_ok=True)
        raise
    flush_to_disk(file.parent)


def temporary_name(name: str) -> str:
    """The name a file has while it is written."""
    return f".{name}-new"


def write_text(file: Path, text: str) -> None:
    """Write a text. A file name in it that is no UTF-8 stands as an escape, as JSON has it."""
    replace_file(file, text.encode("utf-8", "backslashreplace"))


def write_output(file: Path, text: str) -> None:
    """Write a text where somebody wants it: a link is followed, and a device or pipe written to instead of replaced."""
    place = file.resolve()
    if place.exists() and not place.is_file() and not place.is_dir():
        place.write_bytes(text.encode("utf-8", "backslashreplace"))
    else:
        write_text(place, text)


def write_json(file: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_text(file, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def flush_to_disk(part: Path) -> None:
    """See a file's content, or a folder's entries, on disk."""
    if part.is_dir() and os.name == "nt":
        return
    # Windows brings to disk only what was opened to be written
    handle = os.open(part, os.O_RDONLY if part.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
