"""A new folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mgclip.errors import InputError
from mgclip.method.store import check_writable


def check_new(folder: Path) -> None:
    """See that ``folder`` can be written as a new one, without writing anything.

    Raises ``InputError`` where something is there already, or nothing may be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder: give another one, or empty this one.")
    if folder.resolve() == Path.cwd():
        raise InputError("The folder to write cannot be the one this runs in: give the name of a new folder.")
    check_writable(folder.absolute().parent)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into; it takes the name ``folder`` at the end, and vanishes where that does not come.

    Raises ``InputError`` as ``check_new`` does.
    """
    check_new(folder)
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{target.name}-new-", dir=target.parent))
    try:
        yield place
        for part in (place, *place.rglob("*")):
            part.chmod(0o755 if part.is_dir() else 0o644)
        try:
            place.rename(target)
        except OSError as error:
            raise InputError(
                f"{folder} cannot be put in place ({error.strerror}): give a folder that does not exist yet."
            ) from None
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
