"""The errors that a user can meet. Each has one sentence: what was expected, what was found, what to do."""

from __future__ import annotations

import unicodedata
from typing import Any

BIDI_CONTROLS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of the text after them."""


def one_line(text: str) -> str:
    """Return a text on one line, with line breaks, control characters and bidirectional controls as escapes."""
    if text.isprintable():
        return text
    hidden = ("Cc", "Cs", "Zl", "Zp")
    return "".join(
        letter.encode("unicode_escape").decode() if letter in BIDI_CONTROLS or unicodedata.category(letter) in hidden else letter
        for letter in text
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message without its final stop, or the error's type if it has no message."""
    lines = str(error).strip().splitlines()
    return (lines[0].rstrip(" .:")[:300] if lines else "") or type(error).__name__


class MGCLIPError(Exception):
    """A command or call failed while it ran; the command line exits with 1."""

    exit_code = 1

    def __init__(self, sentence: object = "") -> None:
        super().__init__(one_line(str(sentence)))


class InputError(MGCLIPError):
    """The input cannot be used; the command line exits with 2."""

    exit_code = 2


class DamagedShard(InputError):
    """A shard cannot be read to its end.

    Args:
        shard: Its name.
        read: How far it was read, after *cannot be read*: ``after 12.jpg`` or ``at all``.
        reason: What is wrong.
    """

    def __init__(self, shard: str, read: str, reason: str) -> None:
        super().__init__(f"The shard {shard} cannot be read {read} ({reason}): replace it or leave it out.")
        self.shard, self.read, self.reason = shard, read, reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process makes it from the same arguments."""
        return type(self), (self.shard, self.read, self.reason)


class AlikeTexts(UserWarning):
    """Two class texts become the same tokens, so a CLIP cannot tell their classes apart by text; or two class names differ only
    in their form, so they are probably one class.
    """


class ChangedCode(UserWarning):
    """A run was started with other versions of packages, or with other code of a method."""


class DamagedFeatures(UserWarning):
    """A file of kept features is damaged, so its images are encoded again."""


class MissingExtra(InputError):
    """An optional dependency is needed and is not installed."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"This needs {what}, which is not installed: run `pip install 'mg-clip[{extra}]'`.")
        self.extra, self.what = extra, what

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process makes it from the same arguments."""
        return type(self), (self.extra, self.what)
