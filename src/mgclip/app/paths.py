"""``~`` in the paths that commands take: the home folder, also where the shell does not replace it (quoted, or after ``=``)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

MAY_BE_PATHS = frozenset({"images", "base", "clip", "data", "path", "names", "arguments", "table"})
"""Parameters that are texts because they take other things too, such as the name of a data set or recipe."""


def with_home(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same command, which expands ``~`` in all its paths."""

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
