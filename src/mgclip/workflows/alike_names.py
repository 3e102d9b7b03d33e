"""Find class names that are probably one name, such as *T-Shirt* and *t shirt*, and merge them if the user wants that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mgclip.errors import InputError
from mgclip.names import ALIKE, SEPARATORS, canonical, loose_form, visible_form
from mgclip.words import count

LEAST_LETTERS = 5
"""Length of the shortest name in which a slip is looked for."""


class AlikeNames(InputError):
    """Class names that differ only in case, spaces, hyphens, underscores or the form of a letter."""


def find_slips(new: Iterable[str], known: Iterable[str]) -> list[tuple[str, str]]:
    """New names that may be misspelled: each with a known or new name that has one letter less or more, or two neighbouring
    letters exchanged, such as *dres* or *derss* for *dress*. Names with fewer than ``LEAST_LETTERS`` characters are ignored,
    and so are other letters: *shirt* and *skirt* are two words. A letter that is a word of its own is no slip: *t-shirt*.
    """
    others = {loose_form(name): name for name in known}
    own = {loose_form(name): name for name in new if loose_form(name) not in others}
    found: dict[frozenset[str], tuple[str, str]] = {}
    for word, name in {**others, **own}.items():
        for slip in _slips(word):
            other = own.get(slip) or (others.get(slip) if word in own else None)
            if other is not None and other != name and not _has_one_letter_more({name, other}):
                found.setdefault(frozenset((name, other)), (name, other) if word in own else (other, name))
    return list(found.values())


def _has_one_letter_more(names: Iterable[str]) -> bool:
    """Whether two names are the same without their words of one letter."""
    words = [SEPARATORS.split(visible_form(name).casefold()) for name in names]
    return len({"".join(word for word in own if len(word) > 1) for own in words}) == 1


def _slips(word: str) -> set[str]:
    """The word without one of its letters, and with two neighbouring letters exchanged."""
    if len(word) < LEAST_LETTERS:
        return set()
    shorter = {word[:i] + word[i + 1 :] for i, letter in enumerate(word) if letter.isalpha()}
    pairs = [i for i in range(len(word) - 1) if word[i : i + 2].isalpha()]
    return shorter | {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in pairs}


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
            f"The class {name!a} is probably the same as {other} ({ALIKE}{more}): learn them as one class with "
            "--merge-names, or rename one of them."
        )
    merged = [f"{name} ({count(len(classes[name]), 'image')} in all) as {into}" for name, into in alike]
    return names, [f"learned as one class: {', '.join(merged)}"]


def rename(classes: Mapping[str, list[Path]], names: Mapping[str, str]) -> dict[str, list[Path]]:
    """The classes under these names; classes of one name are united."""
    renamed: dict[str, list[Path]] = {}
    for name, files in classes.items():
        renamed[names[name]] = [*renamed.get(names[name], []), *files]
    return renamed
