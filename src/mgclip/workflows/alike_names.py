"""Find class names that are probably one name, such as *T-Shirt* and *t shirt*, and merge them if the user wants that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mgclip.errors import InputError
from mgclip.names import canonical, visible_form
from mgclip.words import count

SEPARATORS = re.compile(r"(?<![0-9])[\s_-]+|[\s_-]+(?![0-9])")
"""Spaces, underscores and hyphens, except between two digits: *1-2* is not *12*."""


class AlikeNames(InputError):
    """Class names that differ only in case, spaces, hyphens, underscores or the form of a letter."""


def loose_form(name: str) -> str:
    """A form that is equal for names that differ only in case, spaces, hyphens, underscores or the form of a letter."""
    return SEPARATORS.sub("", visible_form(name).casefold())


def choose_names(classes: Mapping[str, Sequence[Path]], known: Sequence[str], *, merge: bool) -> tuple[dict[str, str], list[str]]:
    """Choose one name for all classes with the same loose form: the one that is known, otherwise that with the most images.

    Args:
        classes: Image files by class.
        known: The classes that the model knows. One of them keeps its name if it is among the classes.
        merge: Whether to merge them. Otherwise they are refused.

    Returns:
        The name of each class, and sentences on the classes that are merged.

    Raises:
        AlikeNames: If there are such classes and ``merge`` is false.
    """
    exact = set(map(canonical, known))
    first: dict[str, str] = {}
    for name in (*known, *sorted(classes, key=lambda name: -len(classes[name]))):
        first.setdefault(loose_form(name), name)
    names = {name: name if canonical(name) in exact else first[loose_form(name)] for name in classes}
    alike = [(name, into) for name, into in names.items() if name != into]
    if not alike:
        return names, []
    if not merge:
        name, into = alike[0]
        other = f"{into!a}" if into in classes else f"{into!a}, which the model knows"
        more = f"; there are {len(alike)} such pairs" if len(alike) > 1 else ""
        raise AlikeNames(
            f"The class {name!a} is probably the same as {other} (they differ only in case, spaces, hyphens, underscores or the "
            f"form of a letter{more}): learn them as one class with --merge-names, or rename one of them."
        )
    merged = [f"{name} ({count(len(classes[name]), 'image')}) as {into}" for name, into in alike]
    return names, [f"learned as one class: {', '.join(merged)}"]


def rename(classes: Mapping[str, list[Path]], names: Mapping[str, str]) -> dict[str, list[Path]]:
    """The classes under these names; classes of one name are united."""
    renamed: dict[str, list[Path]] = {}
    for name, files in classes.items():
        renamed[names[name]] = [*renamed.get(names[name], []), *files]
    return renamed
