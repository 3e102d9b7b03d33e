"""Changes to what was learned that need no training: another name for a class, a class dropped."""

from __future__ import annotations

from dataclasses import replace

import torch

from mgclip.errors import InputError
from mgclip.method.model_files import ModelState
from mgclip.method.replay import Memory
from mgclip.names import check_distinguishable, index_of, visible_form


def relabel(learned: ModelState, old: str, new: str, text: str | None) -> ModelState:
    """Give a class another name and text. Raises ``InputError`` where the old one was not learned, or the new one was."""
    place = _place(learned, old)
    if not new.strip():
        raise InputError(f"The class {old!r} needs a name; found {new!r}.")
    others = [name for other, name in enumerate(learned.class_names) if other != place]
    if index_of(new, others) is not None:
        raise InputError(f"The class {new!r} is learned already: give {old!r} another name.")
    check_distinguishable([new], others)
    names, texts = list(learned.class_names), list(learned.class_texts)
    names[place], texts[place] = new, new if text is None else text
    return replace(learned, class_names=tuple(names), class_texts=tuple(texts))


def forget(learned: ModelState, name: str) -> ModelState:
    """Drop a class from head, names and memory; later classes move up. Raises ``InputError`` where it was not learned."""
    place = _place(learned, name)
    names, texts, sizes = list(learned.class_names), list(learned.class_texts), list(learned.task_sizes)
    del names[place], texts[place]
    task = next(t for t in range(len(sizes)) if place < sum(sizes[: t + 1]))
    sizes[task] -= 1  # a task may end up with no class: its number, of which seeds are made, stays
    head = torch.cat([learned.head[:place], learned.head[place + 1 :]])
    return ModelState(
        learned.settings,
        learned.epochs,
        tuple(sizes),
        tuple(names),
        tuple(texts),
        head,
        _without(learned.memory, place),
    )


def _without(memory: Memory | None, label: int) -> Memory | None:
    if memory is None:
        return None
    kept = memory.labels != label
    labels = memory.labels[kept]
    return Memory(memory.pixels[kept], labels - (labels > label).long()) if len(labels) else None


def _place(learned: ModelState, name: str) -> int:
    place = index_of(name, learned.class_names)
    if place is None:
        from difflib import get_close_matches

        close = get_close_matches(visible_form(name), {visible_form(other): other for other in learned.class_names}, 1)
        named = [other for other in learned.class_names if close and visible_form(other) == close[0]]
        hint = f"did you mean {named[0]!r}?" if named else f"it knows {len(learned.class_names)} others."
        raise InputError(f"The model has not learned the class {name!r}: {hint}")
    return place
