"""Files that are whole or as they were: written beside, brought to disk, then renamed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def replace_file(file: Path, content: bytes) -> None:
    """Put a new file in a file's place, whole or not at all; what either name links to is not touched."""
    fresh = file.with_name(f".{file.name}-new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(file)
    to_disk(file.parent)


def write_text(file: Path, text: str) -> None:
    """Write a text. A file name in it that is no UTF-8 stands as an escape, as JSON has it."""
    replace_file(file, text.encode("utf-8", "backslashreplace"))


def write_json(file: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_text(file, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def to_disk(part: Path) -> None:
    """See a file's content, or a folder's entries, on disk."""
    if part.is_dir() and os.name == "nt":
        return
    handle = os.open(part, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
