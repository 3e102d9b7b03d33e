"""Warn of class texts that a CLIP cannot tell apart (it ignores case and cuts long texts), and of names that are probably one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from mgclip.clip.backbone import Backbone
from mgclip.errors import AlikeTexts
from mgclip.method.settings import Settings
from mgclip.names import ALIKE, canonical, loose_form

PART = 1000
"""Texts tokenised at a time."""


def warn_of_alike_texts(backbone: Backbone, settings: Settings, known: Sequence[str], new: Sequence[str]) -> None:
    """Warn of each text in ``new`` that becomes the same tokens as another one, in ``known`` or in ``new``."""
    texts = [*known, *new]
    first: dict[tuple[tuple[int, ...], ...], int] = {}
    for position, tokens in enumerate(_tokens(backbone, settings.templates, texts)):
        earlier = first.setdefault(tokens, position)
        if position >= len(known) and earlier != position:
            warnings.warn(
                f"The texts {texts[earlier]!r} and {texts[position]!r} are the same to this CLIP, which ignores case and cuts "
                "long texts: give one of the classes another text.",
                AlikeTexts,
                stacklevel=4,
            )


def _tokens(backbone: Backbone, templates: Sequence[str], texts: Sequence[str]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """The tokens of each text in each template, without padding. The tokenizer needs 4 KB of memory per text."""
    padding = backbone.tokenizer.pad_token_id
    for start in range(0, len(texts), PART):
        part = texts[start : start + PART]
        for rows in backbone.class_tokens(templates, part).reshape(len(part), len(templates), -1).tolist():
            yield tuple(tuple(_without_end(row, padding)) for row in rows)


def _without_end(row: list[int], token: int | None) -> list[int]:
    """A list without the tokens of this kind at its end."""
    while row and row[-1] == token:
        row.pop()
    return row


def warn_of_alike_names(known: Sequence[str], new: Sequence[str]) -> None:
    """Warn of each name in ``new`` that differs from another one, in ``known`` or in ``new``, only in its form."""
    added = set(new)
    first: dict[str, str] = {}
    for name in (*known, *new):
        other = first.setdefault(loose_form(name), name)
        if name in added and canonical(other) != canonical(name):
            warnings.warn(
                f"The class names {other!r} and {name!r} are probably those of one class ({ALIKE}): use one name for it.",
                AlikeTexts,
                stacklevel=4,
            )
