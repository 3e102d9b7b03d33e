"""Words of sentences that depend on numbers, and suggestions for unknown words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def count(number: int, one: str, many: str = "") -> str:
    """A number and its noun: ``1 task``, ``3 tasks``, ``2 classes``. ``many`` is the plural if it is irregular."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours: ``12 s``, ``3 min``, ``1.6 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else f"; choose from {', '.join(known)}"


def ended(message: str) -> str:
    """A message with a full stop at its end, unless it is a question."""
    return message if message.endswith(("?", ".")) else f"{message}."
