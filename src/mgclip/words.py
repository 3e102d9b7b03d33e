"""Words of sentences that depend on numbers, suggestions for unknown words, and commands to type."""

from __future__ import annotations

import difflib
import os
import shlex
import subprocess
from collections.abc import Iterable, Sequence

from mgclip.names import visible_form


def count(number: int, one: str, many: str = "") -> str:
    """A number and its noun: ``1 task``, ``3 tasks``, ``2 classes``. ``many`` is the plural if it is irregular."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def were(number: int) -> str:
    """``was`` or ``were``, to agree with a number of things."""
    return "was" if number == 1 else "were"


def are(number: int) -> str:
    """``is`` or ``are``, to agree with a number of things."""
    return "is" if number == 1 else "are"


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours: ``12 s``, ``3 min``, ``1.6 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and the number of others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def described_classes(names: Sequence[str], most: int = 5) -> str:
    """The number of classes and the first names: ``2 classes: 'cat', 'dog'``."""
    first = ", ".join([*map(repr, names[:most]), *(["..."] if len(names) > most else [])])
    return count(len(names), "class", "classes") + (f": {first}" if first else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them."""
    known = list(known)
    close = closest(word, known, cutoff=0.5)
    return f"; choose from {', '.join(known)}" if close is None else f": did you mean {close}?"


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known word that is most like this one, ignoring case; None if no word is like it."""
    forms = {visible_form(other).casefold(): other for other in known}
    close = difflib.get_close_matches(visible_form(word).casefold(), forms, n=1, cutoff=cutoff)
    return forms[close[0]] if close else None


def command_line(words: Iterable[str]) -> str:
    """The words as one line to type: what needs quotes gets those of the shell of this system."""
    return subprocess.list2cmdline(list(words)) if os.name == "nt" else shlex.join(words)


def ended(message: str) -> str:
    """A message with a full stop at its end, unless it is a question."""
    return message if message.endswith(("?", ".")) else f"{message}."
