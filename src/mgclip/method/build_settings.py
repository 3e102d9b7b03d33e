"""Settings from what a person wrote: one sentence names everything that is wrong, with the nearest valid key."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mgclip.errors import InputError

SOURCE = "In the settings"
"""How errors begin if the settings come from no file."""
SHORT = reprlib.Repr()
"""Shows as much of a value as fits into a sentence."""
SHORT.maxstring = SHORT.maxother = 200


class CheckedSettings(BaseModel):
    """Settings given by name, fixed once created. Unknown names and wrong values raise ``InputError``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    if not TYPE_CHECKING:  # type checkers see the names and types of the settings instead

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                messages = "; ".join(_messages(error, type(self).model_fields))
                raise InputError(f"{SOURCE}: {messages}" + "." * (not messages.endswith("?"))) from None


Kind = TypeVar("Kind", bound=CheckedSettings)


def build(kind: type[Kind], values: Mapping[str, Any], *, source: str) -> Kind:
    """Settings of a kind. The ``InputError`` it raises names everything that is wrong and begins with ``source``."""
    try:
        return kind(**{str(key): value for key, value in values.items()})
    except InputError as error:
        raise InputError(source + str(error).removeprefix(SOURCE)) from None


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
