"""Atomic file writes: write a temporary file, flush it to disk, rename it. A file is complete or unchanged, never partial."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a full disk and of an exhausted quota."""


def replace_file(file: Path, content: bytes) -> None:
    """Replace or create a file atomically. If it is a symbolic link, the link is replaced and its target is unchanged."""
    temporary = file.with_name(temporary_name(file.name))
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(file)
    except BaseException:  # the disk may be full, so the partial file must not stay
        temporary.unlink(missing_ok=True)
        raise
    flush_to_disk(file.parent)


def temporary_name(name: str) -> str:
    """Return the name that a file has while it is being written."""
    return f".{name}-new"


def write_text(file: Path, text: str) -> None:
    """Write a text atomically. A file name in it that is not valid UTF-8 is escaped, as in JSON."""
    replace_file(file, text.encode("utf-8", "backslashreplace"))


def write_output(file: Path, content: str | bytes) -> None:
    """Write to a path that the user chose: follow a link, and write into a device or pipe instead of replacing it."""
    content = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if file.exists() and not file.is_file() and not file.is_dir():  # not resolved: a pipe behind a link has no path of its own
        file.write_bytes(content)
    else:
        replace_file(file.resolve(), content)


def write_json(file: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_text(file, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def give_usual_permissions(folder: Path) -> None:
    """Give a temporary folder, which only its owner may open, and everything in it the permissions of new folders and files:
    755 and 644, without what the umask takes away.
    """
    probe = folder / ".permissions"
    probe.mkdir(0o755)
    mode = probe.stat().st_mode & 0o755
    probe.rmdir()
    for part in (folder, *folder.rglob("*")):
        part.chmod(mode if part.is_dir() else mode & 0o644)


def flush_to_disk(path: Path) -> None:
    """Flush the content of a file, or the entries of a folder, to disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder
    # Windows flushes only files that were opened for writing.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
