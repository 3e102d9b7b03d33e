"""Changes to a model that need no training: another name for a class, a class dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mgclip.errors import InputError
from mgclip.method.replay import Memory

if TYPE_CHECKING:
    from mgclip.method.learner import MGCLIP


def relabel(model: MGCLIP, old: str, new: str, text: str | None) -> None:
    """Give a class another name and text. Raises ``InputError`` where the old one was not learned, or the new one was."""
    place = _place(model, old)
    if not new.strip():
        raise InputError(f"The class {old!r} needs a name; found {new!r}.")
    if new != old and new in model.class_names:
        raise InputError(f"The class {new!r} is learned already: give {old!r} another name.")
    names, texts = list(model.class_names), list(model.class_texts)
    names[place], texts[place] = new, new if text is None else text
    model.class_names, model.class_texts = tuple(names), tuple(texts)


def forget(model: MGCLIP, name: str) -> None:
    """Drop a class from head, names and memory; later classes move up. Raises ``InputError`` where it was not learned."""
    place = _place(model, name)
    names, texts, sizes = list(model.class_names), list(model.class_texts), list(model.task_sizes)
    del names[place], texts[place]
    first = 0
    for task, size in enumerate(sizes):  # a task may end up with no class: its number, of which seeds are made, stays
        if place < first + size:
            sizes[task] -= 1
            break
        first += size
    model.head = torch.cat([model.head[:place], model.head[place + 1 :]])
    if model.memory is not None:
        kept = model.memory.labels != place
        labels = model.memory.labels[kept]
        left = Memory(model.memory.pixels[kept], labels - (labels > place).long())
        model.memory = left if len(left) else None
    model.class_names, model.class_texts, model.task_sizes = tuple(names), tuple(texts), tuple(sizes)


def _place(model: MGCLIP, name: str) -> int:
    if name not in model.class_names:
        from difflib import get_close_matches

        close = get_close_matches(name, model.class_names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"it knows {len(model.class_names)} others."
        raise InputError(f"The model has not learned the class {name!r}: {hint}")
    return model.class_names.index(name)
