"""Whether a folder can be written, found out without writing."""

from __future__ import annotations

import os
from pathlib import Path

from mgclip.errors import InputError
from mgclip.missing import refuse_address


def check_writable(folder: Path) -> None:
    """Check, without writing, that a folder can be created or written into. Raises ``InputError`` if it cannot."""
    refuse_address(folder)
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"{folder} cannot be written: {there} is not a folder; give another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder} cannot be written: no write permission in {there}; give another folder.")
