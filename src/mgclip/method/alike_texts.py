"""Warn of class texts that a CLIP cannot tell apart (it ignores case and cuts long texts), and of names that are probably one."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple

from mgclip.clip.backbone import Backbone
from mgclip.errors import AlikeTexts
from mgclip.method.settings import Settings
from mgclip.names import ALIKE, canonical, loose_form
from mgclip.words import count

PART = 1000
"""Texts tokenised at a time."""


Pair = tuple[int, int]
"""The positions of two texts or names."""


class AlikeTextPairs(NamedTuple):
    """Pairs of texts that become the same tokens: in any prompt, or because the prompt leaves no room for their difference."""

    same: list[Pair]
    cut: list[Pair]


def find_alike_texts(backbone: Backbone, templates: Sequence[str], texts: Sequence[str], first_new: int = 0) -> AlikeTextPairs:
    """Find each text from ``first_new`` on that becomes the same tokens as another one; pairs it with the first of them."""
    pairs = [pair for pair in _repeated(_digests(backbone, templates, texts)) if pair[1] >= first_new]
    alone = [list(_tokens(backbone, ["{}"], [texts[place] for place in places])) for places in zip(*pairs, strict=True)]
    same = [one == other for one, other in zip(*alone, strict=True)]
    return AlikeTextPairs(list(compress(pairs, same)), [pair for pair, alike in zip(pairs, same, strict=True) if not alike])


def warn_of_alike_texts(
    backbone: Backbone,
    settings: Settings,
    known: Sequence[str],
    new: Sequence[str],
    advice: str = "give one of the classes another text",
) -> None:
    """Warn, once, if texts in ``new`` become the same tokens as others, in ``known`` or ``new``; ``advice`` says what to do."""
    texts = [*known, *new]
    same, cut = find_alike_texts(backbone, settings.templates, texts, len(known))
    if found := [*cut, *same]:
        _warn(
            f"The texts {_named(texts, found[0])} are the same to this CLIP, which ignores case and cuts long texts"
            f"{and_others(found)}: {'shorten the prompt' if cut else advice}."
        )


def warn_of_alike_names(known: Sequence[str], new: Sequence[str]) -> None:
    """Warn, once, if names in ``new`` differ from others, in ``known`` or in ``new``, only in their form."""
    names, added = [*known, *new], set(new)
    pairs = _repeated(map(loose_form, names))
    found = [(a, b) for a, b in pairs if names[b] in added and canonical(names[a]) != canonical(names[b])]
    if found:
        _warn(
            f"The class names {_named(names, found[0])} are probably those of one class ({ALIKE}){and_others(found)}: "
            "use one name for it."
        )


def and_others(pairs: Sequence[Pair]) -> str:
    """The end of a sentence about what the first of these pairs are: the others are too."""
    others = len(pairs) - 1
    return f", and so {'is' if others == 1 else 'are'} {count(others, 'other pair')}" if others else ""


def _named(texts: Sequence[str], pair: Pair) -> str:
    return " and ".join(repr(texts[place]) for place in pair)


def _warn(sentence: str) -> None:
    """Give a warning to the caller of the model, which is five calls away."""
    warnings.warn(sentence, AlikeTexts, stacklevel=6)


def _repeated(items: Iterable[Hashable]) -> list[Pair]:
    """The positions of each item that is equal to an earlier one, and of the first of these."""
    first: dict[Hashable, int] = {}
    pairs = [(first.setdefault(item, position), position) for position, item in enumerate(items)]
    return [(earlier, position) for earlier, position in pairs if earlier != position]


def _digests(backbone: Backbone, templates: Sequence[str], texts: Sequence[str]) -> list[int]:
    """A digest of the tokens of each text. Those of earlier texts are remembered: each task compares the texts of all classes."""
    known = backbone.token_digests.setdefault(tuple(templates), {})
    new = [text for text in dict.fromkeys(texts) if text not in known]
    known.update(zip(new, map(hash, _tokens(backbone, templates, new)), strict=True))
    return [known[text] for text in texts]


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
