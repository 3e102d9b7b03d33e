"""Text in Markdown."""

from __future__ import annotations

import re

MARKUP = re.compile(
    r"[\\`*\[\]<>|~$]"  # wherever they are
    r"|(?<!\w)_|_(?!\w)"  # emphasis, which does not begin or end inside a word
    r"|&(?=#?\w+;)|:(?=[a-z_]\w*:)"  # character references, and names of emoji
    r"|:(?=//)|(?<=www)\.|@(?=\w)"  # what becomes a link without brackets
)
"""Characters that Markdown or HTML could interpret. A backslash before each keeps the source readable as plain text."""


ESCAPED = re.compile(r"\\([^\w\s]|_)")


def as_read(line: str) -> str:
    """A line of Markdown as a person reads it: without the backslashes of ``as_markdown``."""
    return ESCAPED.sub(r"\1", line)


def as_markdown(value: object) -> str:
    """Any value as one line that Markdown shows as it is."""
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return MARKUP.sub(lambda match: f"\\{match[0]}", " ".join(text.split()))
