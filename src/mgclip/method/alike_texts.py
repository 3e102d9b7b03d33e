"""Warn of class texts that a CLIP cannot tell apart (it ignores case and cuts long texts), and of names that are probably one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from mgclip.clip.backbone import Backbone
from mgclip.errors import AlikeTexts
from mgclip.method.settings import Settings
from mgclip.names import ALIKE, canonical, loose_form


def warn_of_alike_texts(backbone: Backbone, settings: Settings, known: Sequence[str], new: Sequence[str]) -> None:
    """Warn of each text in ``new`` that becomes the same tokens as another one, in ``known`` or in ``new``."""
    texts = [*known, *new]
    first: dict[tuple[int, ...], int] = {}
    for position, row in enumerate(backbone.class_tokens(settings.templates, texts).flatten(1).tolist()):
        earlier = first.setdefault(tuple(row), position)
        if position >= len(known) and earlier != position:
            warnings.warn(
                f"The texts {texts[earlier]!r} and {texts[position]!r} are the same to this CLIP, which ignores case and cuts "
                "long texts: give one of the classes another text.",
                AlikeTexts,
                stacklevel=4,
            )


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
