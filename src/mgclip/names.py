"""Compare class names. This module has the only rule for when two names are equal.

Unicode writes *é* as one character or as two. Names are compared in the composed form (NFC) and shown in the form that was given
first. Extra spaces are removed.
"""

from __future__ import annotations

import numbers
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from mgclip.errors import InputError

SEPARATORS = re.compile(r"(?<![0-9])(?!^-[0-9])[\s_-]+|[\s_-]+(?![0-9])")
"""Spaces, underscores and hyphens, except between two digits and as a sign: *1-2* is not *12*, and *-1* not *1*."""
ALIKE = "they differ only in case, spaces, hyphens, underscores or the form of a letter"
"""What names with the same loose form have in common."""

REMEMBERED = 1 << 18
"""Names whose forms are remembered: each task compares the names of all classes."""


def is_missing(value: Any) -> bool:
    """Whether a value is what an empty cell of a table is read as: ``None``, NaN, or pandas' ``NA`` and ``NaT``."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Real) and bool(value != value)  # only NaN differs from itself


def tidy(name: str) -> str:
    """Return the form in which a name is stored: without spaces at its ends, with single spaces inside."""
    return " ".join(name.split())


def canonical(name: str) -> str:
    """Return the form in which names are compared: without extra spaces, in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", tidy(name))


@lru_cache(maxsize=REMEMBERED)
def visible_form(name: str) -> str:
    """Return a form that is equal for names that look alike, such as the ligature in *ﬁsh* and the two letters in *fish*.

    It has no compatibility characters, no invisible characters and no extra spaces.
    """
    shown = "".join(c for c in unicodedata.normalize("NFKC", name) if not _is_invisible(c))
    return tidy(unicodedata.normalize("NFC", shown))


@lru_cache(maxsize=REMEMBERED)
def loose_form(name: str) -> str:
    """Return a form that is equal for names that differ only in case, spaces, hyphens, underscores or the form of a letter."""
    return SEPARATORS.sub("", visible_form(name).casefold())


def find_alike(name: str, others: Iterable[str]) -> str | None:
    """Return the first of the other names that has the same loose form but is not the same name, or ``None``."""
    wanted = loose_form(name)
    alike = (other for other in others if loose_form(other) == wanted and canonical(other) != canonical(name))
    return next(alike, None)


def _is_invisible(character: str) -> bool:
    """Whether it is a format character or a variation selector, as in an emoji."""
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"


def index_of(name: str, names: Iterable[str]) -> int | None:
    """Return the position of a name among others, or ``None`` if it is not one of them."""
    wanted = canonical(name)
    return next((position for position, other in enumerate(names) if canonical(other) == wanted), None)


def indices_of(names: Iterable[str], among: Iterable[str]) -> list[int | None]:
    """Return the position of each name among others, or ``None`` if it is not one of them."""
    positions: dict[str, int] = {}
    for position, other in enumerate(among):
        positions.setdefault(canonical(other), position)
    return [positions.get(canonical(name)) for name in names]


def not_among(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return the names that are not among others."""
    known = set(map(canonical, others))
    return [name for name in names if canonical(name) not in known]


def has_surrogate(text: str) -> bool:
    """Whether a text has a lone surrogate: it was decoded from bytes that are not UTF-8, and cannot be stored."""
    return not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text)


def undecodable(what: str, name: str, advice: str) -> InputError:
    """The error of a name that has a lone surrogate: its bytes are not UTF-8, or Python has read them in another encoding.

    Args:
        what: What has the name, such as *class folder*.
        name: The name.
        advice: What to do if it is not UTF-8.
    """
    try:
        right = name.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        return InputError(f"The {what} {name!a} is not valid UTF-8: {advice}.")
    used = sys.getfilesystemencoding().upper()
    return InputError(f"Python reads the {what} {right!r} as {used}: set the variable PYTHONUTF8=1.")


def check_readable(name: str) -> None:
    """Check that the name of a class can be stored and seen. Raises ``InputError`` if it was not valid UTF-8, or all of its
    characters are invisible.
    """
    if has_surrogate(name):
        raise undecodable("class name", name, "correct it")
    if not visible_form(name):
        raise InputError(f"The class name {name!a} has no visible character: give the class another name.")


def check_distinguishable(new: Sequence[str], known: Iterable[str] = ()) -> None:
    """Check that new names can be stored and seen, and that readers can tell them from one another and from the known ones.
    Raises ``InputError`` if one was not valid UTF-8 or is invisible, or two different names look alike.
    """
    seen = {visible_form(name): name for name in known}
    for name in new:
        check_readable(name)
        other = seen.setdefault(visible_form(name), name)
        if other != name:
            raise InputError(
                f"The class names {other!a} and {name!a} look alike (they differ only in spaces, invisible "
                "characters or the form of a letter): rename one of them."
            )
