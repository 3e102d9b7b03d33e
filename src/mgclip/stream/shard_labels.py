"""The class of an image in a shard: where it is found, and what it may be called."""

from __future__ import annotations

from mgclip.errors import InputError
from mgclip.names import has_surrogate

LABELS = ("class_name", "class", "label_name", "label", "category", "name", "cls")
"""Columns of text that may name the class, the preferred one first; in a tar shard, keys of a JSON member."""


def class_name(text: str, shard: str, place: str) -> str:
    """Return the name of a class without the spaces around it.

    Args:
        text: What the shard has as the class of an image. It is not empty.
        shard: The name of the shard.
        place: Where the text is in the shard, such as ``the member 12.cls``.

    Raises:
        InputError: If the name has several lines, or a character that no UTF-8 text has.
    """
    name = text.strip()
    if has_surrogate(name):
        raise InputError(f"The class in {place} of the shard {shard} is not valid UTF-8 ({name[:80]!r}): correct it.")
    if len(name.splitlines()) > 1:
        raise InputError(
            f"The class in {place} of the shard {shard} has several lines ({name[:80]!r}): write one name on one line, or choose "
            "another place with --label."
        )
    return name
