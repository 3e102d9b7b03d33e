"""One writer at a time: a lock on a folder that names its owner. It is released when its owner exits, even by a crash."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from mgclip.errors import InputError
from mgclip.saving.writable import check_writable

LOCK = ".mgclip-lock"
OWNER = f"{LOCK}-owner"


@contextlib.contextmanager
def only_writer(folder: Path, *, wait: float = 0.0, advice: str = "try again when it is done") -> Iterator[None]:
    """Hold the lock of a folder; the thread that holds it already may enter again.

    Args:
        folder: The folder, created if it does not exist.
        wait: Seconds to wait for another owner.
        advice: What the error advises if that was not long enough.

    Raises:
        InputError: If another owner, whom it names, holds the lock for longer, or if the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    check_writable(folder)
    lock = FileLock(str(folder / LOCK), is_singleton=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait)
    except Timeout:
        raise InputError(f"{folder} is being written by {_owner(folder)}: {advice}.") from None
    outermost = lock.lock_counter == 1
    try:
        if outermost:
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            owner = {"process": os.getpid(), "host": socket.gethostname(), "since": now}
            (folder / OWNER).unlink(missing_ok=True)
            with os.fdopen(os.open(folder / OWNER, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w", encoding="utf-8") as file:
                json.dump(owner, file)
        yield
    finally:
        if outermost:
            (folder / OWNER).unlink(missing_ok=True)
        lock.release()


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f"process {owner['process']} on {owner['host']} since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
