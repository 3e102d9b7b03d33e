"""Paths given to commands: ``~`` stands for the home folder, even if the shell left it (quoted, or after ``=``). An empty path,
as an unset variable of a script gives, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from mgclip.errors import InputError
from mgclip.home import in_home

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
        return type(value)(in_home(value)) if home else value
    return value


def refuse_empty(parameters: Sequence[Any], values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise ``InputError`` if an empty path was given, which Python takes for the current folder.

    Args:
        parameters: The arguments and options of a command.
        values: The value of each, by name.
        given: The text of those that were given, by name.
    """
    for parameter in parameters:
        may_be_path = parameter.name in MAY_BE_PATHS or any(isinstance(each, Path) for each in _all(values.get(parameter.name)))
        if may_be_path and "" in _all(given.get(parameter.name)):
            raise InputError(f"{parameter.opts[0]} is empty: give a value, or . for the current folder.")


def _all(value: Any) -> Sequence[Any]:
    """The values of a parameter that may have several."""
    return value if isinstance(value, (list, tuple)) else [value]
