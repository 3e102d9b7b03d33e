"""Settings that were given by name and that a method of the run does not use, in sentences."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from mgclip.experiment.recipe import Recipe
from mgclip.method.methods import METHODS, method_settings
from mgclip.method.setting_effects import without_effect
from mgclip.method.settings import Settings


def unused_settings(recipe: Recipe, given: Iterable[str]) -> list[str]:
    """A sentence for each method that replaces settings, or on which they have no effect.

    Args:
        recipe: The recipe, with these settings.
        given: The names of settings that a person gave. Those that only recipes have are used by all methods.

    Example:
        >>> from mgclip.experiment.recipe import load_recipe
        >>> unused_settings(load_recipe("icons100", ["epochs=1", "methods=mg-clip,fine-tune"]), ["epochs"])
        ['fine-tune does not use epochs=1: it has epochs=10']
    """
    settings, keys = recipe.settings(), [key for key in dict.fromkeys(given) if key in Settings.model_fields]
    sentences = []
    for method in recipe.methods:
        own = method_settings(method, settings)
        idle = [] if METHODS[method].has_classifier else without_effect(own, keys)  # code of its own may use any setting
        replaced = [key for key in keys if key not in idle and getattr(own, key) != getattr(settings, key)]
        if unused := [key for key in keys if key in {*idle, *replaced}]:
            has = f": it has {_written(own, replaced)}" if replaced else ""
            sentences.append(f"{method} does not use {_written(settings, unused)}{has}")
    return sentences


def _written(settings: Settings, keys: Iterable[str]) -> str:
    """Settings as on the command line."""
    return ", ".join(f"{key}={_value(getattr(settings, key))}" for key in keys)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)
