"""Create a new folder atomically: it appears complete under its final name, or not at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mgclip.disk import give_usual_permissions
from mgclip.errors import InputError
from mgclip.saving.store import check_writable


def check_new(folder: Path) -> None:
    """Check that ``folder`` can be created, without writing anything. Raises ``InputError`` if it exists and is not an empty
    folder, is the current folder, or its parent is not writable.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder: give another one, or empty this one.")
    if folder.resolve() == Path.cwd():
        raise InputError("The folder to write cannot be the current folder: give the name of a new folder.")
    check_writable(folder.absolute().parent)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to ``folder`` at the end, or removed if the block fails. Raises ``InputError``
    if ``folder`` cannot be created (see ``check_new``).
    """
    check_new(folder)
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-new-", dir=target.parent))
    try:
        yield temporary
        give_usual_permissions(temporary)
        try:
            if target.exists():  # Windows does not rename onto an empty folder
                target.rmdir()
            temporary.rename(target)
        except OSError as error:
            raise InputError(f"{folder} cannot be created ({error.strerror}): give a folder that does not exist yet.") from None
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
