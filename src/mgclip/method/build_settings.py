"""Settings from what a person wrote: one sentence names everything that is wrong, with the nearest valid key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ConfigDict, ValidationError, model_validator

from mgclip.errors import InputError
from mgclip.validation import TrueNumbers, problems
from mgclip.words import ended

SOURCE = "In the settings"
"""How errors begin if the settings come from no file."""


class CheckedSettings(TrueNumbers):
    """Settings given by name, fixed once created. Unknown names and wrong values raise ``InputError``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    if not TYPE_CHECKING:  # type checkers see the names and types of the settings instead

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise InputError(ended(f"{SOURCE}: {'; '.join(problems(error, self.known_keys()))}")) from None

    @model_validator(mode="before")
    @classmethod
    def _none_in_words(cls, values: Any) -> Any:
        """Accept *none*, as the tables of settings call it, wherever that is the default: YAML reads it as text."""
        if not isinstance(values, Mapping):
            return values
        optional = {key for key, field in cls.model_fields.items() if field.default is None}
        return {key: None if key in optional and str(value).casefold() == "none" else value for key, value in values.items()}

    @classmethod
    def known_keys(cls) -> Iterable[str]:
        """The names of all settings, one of which is suggested for a wrong name."""
        return cls.model_fields


Kind = TypeVar("Kind", bound=CheckedSettings)


def build(kind: type[Kind], values: Mapping[str, Any], *, source: str) -> Kind:
    """Settings of a kind. The ``InputError`` it raises names everything that is wrong and begins with ``source``."""
    try:
        return kind(**{str(key): value for key, value in values.items()})
    except InputError as error:
        raise InputError(source + str(error).removeprefix(SOURCE)) from None
