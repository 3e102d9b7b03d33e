"""When two class names are the same: the one rule by which names are compared, wherever they come from.

Unicode writes *é* as one character or as two. Names are compared in the composed form (NFC) and shown as they were first given.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from mgclip.errors import InputError


def canonical(name: str) -> str:
    """The form in which names are compared.

    Args:
        name: A class name.

    Returns:
        The name in Unicode's composed form (NFC).
    """
    return unicodedata.normalize("NFC", name)


def visible_form(name: str) -> str:
    """What a reader sees of a name: without the compatibility forms, the invisible characters and the spaces around it.

    Args:
        name: A class name.

    Returns:
        A form that is equal for names that look alike, such as the ligature in *ﬁsh* and the two letters in *fish*.
    """
    shown = "".join(c for c in unicodedata.normalize("NFKC", name) if not _is_invisible(c))
    return " ".join(unicodedata.normalize("NFC", shown).split())


def _is_invisible(character: str) -> bool:
    """Whether it is a format character or one that selects a variant of the character before it, as of an emoji."""
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"


def index_of(name: str, names: Iterable[str]) -> int | None:
    """The position of a name among others.

    Args:
        name: The name to look for.
        names: The names to look in.

    Returns:
        Its position, or ``None`` if it is not among them.
    """
    wanted = canonical(name)
    return next((place for place, other in enumerate(names) if canonical(other) == wanted), None)


def check_distinguishable(new: Sequence[str], known: Iterable[str] = ()) -> None:
    """Check that readers can tell new names from one another and from the known ones.

    Args:
        new: Names to add.
        known: Names that are already there.

    Raises:
        InputError: If two names are written differently and look alike.
    """
    seen = {visible_form(name): name for name in known}
    for name in new:
        other = seen.setdefault(visible_form(name), name)
        if other != name:
            raise InputError(
                f"The class names {other!a} and {name!a} look alike (they differ only in spaces, invisible "
                "characters or the form of a letter): rename one of them."
            )
