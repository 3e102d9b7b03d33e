"""The errors a user can meet: one sentence each with what was expected, what was found and what to do."""

from __future__ import annotations

import unicodedata

TURNING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows them."""


def one_line(text: str) -> str:
    """A text as one line that shows what it holds: line breaks, terminal commands and turned directions stand as escapes."""
    if text.isprintable():
        return text
    hidden = ("Cc", "Cs", "Zl", "Zp")
    return "".join(
        letter.encode("unicode_escape").decode()
        if letter in TURNING or unicodedata.category(letter) in hidden
        else letter
        for letter in text
    )


class MGCLIPError(Exception):
    """Something failed while running; the command line exits with 1."""

    exit_code = 1

    def __init__(self, sentence: object = "") -> None:
        super().__init__(one_line(str(sentence)))


class InputError(MGCLIPError):
    """What the user gave cannot be used; the command line exits with 2."""

    exit_code = 2


class MissingExtra(InputError):
    """An optional dependency is needed and not installed."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"This needs {what}, which is not installed: run  pip install 'mg-clip[{extra}]'")
