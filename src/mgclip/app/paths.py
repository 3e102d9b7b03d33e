"""``~`` in the paths given to commands stands for the home folder, even if the shell left it (quoted, or after ``=``)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

MAY_BE_PATHS = frozenset({"images", "base", "clip", "data", "path", "names", "arguments", "table", "folder", "test"})
"""Parameters of type ``str`` that can be paths or other things, such as the name of a data set or recipe."""


def with_home(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, with ``~`` expanded in all its paths."""

    @wraps(command)
    def expanding(**given: Any) -> Any:
        return command(**{name: _expanded(value, text=name in MAY_BE_PATHS) for name, value in given.items()})

    return expanding


def _expanded(value: Any, *, text: bool) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_expanded(each, text=text) for each in value)
    if isinstance(value, Path) or (text and isinstance(value, str)):
        home = str(value) == "~" or str(value).startswith(("~/", "~\\"))
        return type(value)(os.path.expanduser(value)) if home else value  # noqa: PTH111
    return value
