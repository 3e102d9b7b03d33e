"""Settings from what a person wrote: one sentence names everything that is wrong, with the nearest valid key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from mgclip.errors import InputError
from mgclip.method.settings import Settings
from mgclip.validation import problems
from mgclip.words import ended

Kind = TypeVar("Kind", bound=Settings)


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
        raise InputError(ended(f"{source}: {'; '.join(problems(error, kind.model_fields))}")) from None
