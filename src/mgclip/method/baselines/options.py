"""Settings of methods in a recipe. Each is written ``METHOD_NAME``: ``rapf_epochs`` is the setting ``epochs`` of ``rapf``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails

from mgclip.method.methods import METHODS


def prefix(method: str) -> str:
    """How the settings of a method begin in a recipe."""
    return f"{method.replace('-', '_')}_"


def keys_of(method: str) -> list[str]:
    """The settings of a method, as recipes name them."""
    kind = METHODS[method].settings
    return [] if kind is None else [prefix(method) + name for name in kind.model_fields]


def owner(key: str) -> str | None:
    """The method that a setting of a recipe belongs to; None if it belongs to none. Other packages are asked last."""
    return next((method for method in METHODS if key.startswith(prefix(method)) and key in keys_of(method)), None)


def own_settings(method: str, given: Mapping[str, Any]) -> BaseModel | None:
    """The settings of a method from those of a recipe; None if it has none.

    Raises:
        ValidationError: If one is wrong, or missing.
        MGCLIPError: If the model of its settings raises another error.
    """
    kind, start = METHODS[method].settings, prefix(method)
    if kind is None:
        return None
    values = {name: given[start + name] for name in kind.model_fields if start + name in given}
    with METHODS.naming_errors(method, "checked its settings"):
        try:
            return kind(**values)
        except ValidationError as error:
            wrong = error
    raise wrong


def check(methods: Collection[str], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[InitErrorDetails]]:
    """Check settings of methods, as recipes name them.

    Args:
        methods: The methods that run.
        given: The given settings.

    Returns:
        The given settings and all others of the methods that run, and what is wrong with them.
    """
    owners = {key: owner(key) for key in given}
    wrong: list[InitErrorDetails] = [
        {"type": "extra_forbidden", "loc": (key,), "input": given[key]} for key, method in owners.items() if method is None
    ]
    values: dict[str, Any] = {}
    for method in dict.fromkeys([*methods, *filter(None, owners.values())]):
        try:
            own = own_settings(method, given)
        except ValidationError as error:
            wrong += [_named(method, dict(each)) for each in error.errors()]
            continue
        kept = keys_of(method) if method in methods else [key for key, name in owners.items() if name == method]
        values |= {key: getattr(own, key.removeprefix(prefix(method))) for key in kept}
    return values, wrong


def _named(method: str, error: dict[str, Any]) -> InitErrorDetails:
    """An error of a method's settings with the name of the setting in a recipe."""
    place = error["loc"] or ("settings",)
    where = prefix(method) + str(place[0]), *place[1:]
    return InitErrorDetails(type=error["type"], loc=where, input=error["input"], ctx=error.get("ctx", {}))
