"""Paths that begin with ``~``, which stands for the home folder."""

from __future__ import annotations

import os
from pathlib import Path

from mgclip.errors import InputError


def in_home(path: str | os.PathLike[str]) -> str | Path:
    """Return a path with the home folder for ``~``. A path that exists, or whose ``~`` has the name of no user, stays as it is:
    files may have any name.

    Raises:
        InputError: If it is neither a text nor a path.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"Expected a path or the name of a CLIP; found {type(path).__name__}: give it as text or as a Path.")
    given = path if isinstance(path, str | Path) else Path(path)
    if not str(given).startswith("~") or os.path.lexists(given):
        return given
    return os.path.expanduser(given)  # noqa: PTH111 (Path.expanduser fails if there is no such user)
