"""Settings from what a person wrote: one sentence names everything that is wrong, with the nearest valid key."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from mgclip.errors import InputError
from mgclip.method.settings import Settings

Kind = TypeVar("Kind", bound=Settings)

SHORT = reprlib.Repr()
"""Shows as much of a value as fits into a sentence."""
SHORT.maxstring = SHORT.maxother = 200


def as_settings(given: Settings | Mapping[str, Any] | None) -> Settings:
    """The settings of the method.

    Args:
        given: Settings, a mapping of some of them by name, or ``None`` for the defaults.

    Returns:
        The settings.

    Raises:
        InputError: If this is something else, or a name or a value is wrong.
    """
    if isinstance(given, Settings):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise InputError(
            f'settings must be Settings(...) or a mapping such as {{"epochs": 2}}; found {type(given).__name__}.'
        )
    return build(Settings, given or {}, source="In the settings")


def build(kind: type[Kind], values: Mapping[str, Any], *, source: str) -> Kind:
    """Settings of a kind. The ``InputError`` it raises names everything that is wrong and begins with ``source``."""
    try:
        return kind(**{str(key): value for key, value in values.items()})
    except ValidationError as error:
        messages = "; ".join(_messages(error, kind.model_fields))
        raise InputError(f"{source}: {messages}" + "." * (not messages.endswith("?"))) from None


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else f"; choose from {', '.join(known)}"


def _messages(error: ValidationError, known: Iterable[str]) -> Iterable[str]:
    found: dict[str, str] = {}
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
        key = str(problem["loc"][0]) if problem["loc"] else message  # without a location, keys contradict each other
        if problem["type"] == "extra_forbidden":
            found[key] = f"there is no key {key}{nearest(key, known)}"
        elif not problem["loc"]:
            found[key] = message
        elif problem["type"] == "missing":
            found[key] = f"{key} is missing"
        elif key in found:
            found[key] = f"{found[key]} or {message.removeprefix('must be ')}"
        else:
            found[key] = f"{key} = {SHORT.repr(problem['input'])}: {message}"
    return found.values()
