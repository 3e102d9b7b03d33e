"""Create a new folder atomically: it appears complete under its final name, or not at all."""

from __future__ import annotations

import contextlib
import glob
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from mgclip.disk import give_usual_permissions
from mgclip.errors import InputError
from mgclip.missing import refuse_address
from mgclip.saving.writable import check_writable

MARK, LOCK = "-new-", "lock"
"""What the name of the temporary folder contains, and the file in it that its process has locked."""


def check_new(folder: Path) -> None:
    """Check that ``folder`` can be created, without writing anything. Raises ``InputError`` if it exists and is not an empty
    folder, is the current folder or an address, or its parent is not writable.
    """
    refuse_address(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder: give another one, or empty this one.")
    if folder.resolve() == Path.cwd():
        raise InputError("The folder to write cannot be the current folder: give the name of a new folder.")
    check_writable(folder.absolute().parent)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to ``folder`` at the end, or removed if the block fails. What killed processes
    left of the same folder is removed too. Raises ``InputError`` if ``folder`` cannot be created (see ``check_new``).
    """
    check_new(folder)
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    place = Path(tempfile.mkdtemp(prefix=f".{target.name}{MARK}", dir=target.parent))
    written = place / target.name
    try:
        with FileLock(place / LOCK):  # it is free when this process has ended, even if it was killed
            written.mkdir()
            yield written
            give_usual_permissions(written)
            try:
                if target.exists():  # Windows does not rename onto an empty folder
                    target.rmdir()
                written.rename(target)
            except OSError as error:
                raise InputError(
                    f"{folder} cannot be created ({error.strerror}): give a folder that does not exist yet."
                ) from None
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _remove_abandoned(target: Path) -> None:
    for place in target.parent.glob(f".{glob.escape(target.name)}{MARK}*"):
        with contextlib.suppress(OSError):  # another process still writes it, or it belongs to somebody else
            if (place / LOCK).is_file():
                lock = FileLock(place / LOCK, timeout=0)
                lock.acquire()
                lock.release()
                shutil.rmtree(place, ignore_errors=True)
