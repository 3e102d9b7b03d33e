"""The files of recipes: those of the package, and the settings in one, with those that it inherits."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mgclip.errors import InputError
from mgclip.missing import is_file
from mgclip.untrusted import parse_yaml
from mgclip.words import ended, nearest


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of every recipe inside the package. A file in ``families`` contains several."""
    folder = Path(str(files("mgclip") / "recipes"))
    found = {file.stem: file for file in folder.glob("*.yaml")}
    found |= {name: file for file in (folder / "families").glob("*.yaml") for name in _family(file)}
    return dict(sorted(found.items()))


@cache
def _family(file: Path) -> dict[str, dict[str, Any]]:
    """The recipes in a file of several, by name: the settings that all share, and those of each, which take precedence."""
    values = read_yaml(file)
    return {name: {**values["shared"], **own} for name, own in values["recipes"].items()}


def recipe_values(reference: str, chain: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings of a recipe, given by the name of a shipped one or by its file, and those that it inherits.

    ``chain``: the recipes that inherit from it. Raises ``InputError`` if there is no such recipe, it is a table, or it inherits
    from itself.
    """
    recipes = shipped_recipes()
    file = recipes.get(reference, Path(reference))
    if reference not in recipes and not is_file(file):
        raise InputError(ended(f"There is no recipe {reference}{nearest(reference, recipes)}"))
    if reference in chain:
        raise InputError(f"The recipe {reference} extends itself: {' -> '.join((*chain, reference))}.")
    together = reference in recipes and file.parent.name == "families"
    values, name = (_family(file)[reference], reference) if together else (read_yaml(file), file.stem)
    if "recipes" in values:
        raise InputError(f"{file} is a table, not a recipe: run it with `mgclip reproduce {file}`.")
    inherited: dict[str, Any] = {}
    if "extends" in values:
        other = values["extends"]
        if not isinstance(other, str):
            raise InputError(f"{file} extends a value of type {type(other).__name__}: give a recipe's name or file.")
        sibling = str(file.parent / other)
        inherited = recipe_values(sibling if is_file(sibling) else other, (*chain, reference))
    return {**inherited, "name": name, **{key: value for key, value in values.items() if key != "extends"}}


def read_yaml(file: Path) -> dict[str, Any]:
    """The settings in a YAML file. Raises ``InputError`` if it cannot be read, is not YAML, or contains something else."""
    try:
        values = parse_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): make it readable.") from None
    except ValueError as error:
        raise InputError(f"{file} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{file} must contain settings, one key: value per line; found {type(values).__name__}.")
    return values
