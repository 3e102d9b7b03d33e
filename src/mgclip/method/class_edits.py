"""Edit a learned model without training: rename or remove a class."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches

import torch

from mgclip.errors import InputError
from mgclip.method.model_files import ModelState
from mgclip.method.replay import Memory
from mgclip.names import check_distinguishable, index_of, visible_form
from mgclip.words import count


def relabel(learned: ModelState, old: str, new: str, text: str | None) -> ModelState:
    """Rename a class, as ``MGCLIP.relabel`` does."""
    position = _position(learned, old)
    if not new.strip():
        raise InputError(f"The class {old!r} needs a name; found {new!r}.")
    others = [name for other, name in enumerate(learned.class_names) if other != position]
    if index_of(new, others) is not None:
        raise InputError(f"The class {new!r} is learned already: give {old!r} another name.")
    check_distinguishable([new], others)
    names, texts = list(learned.class_names), list(learned.class_texts)
    names[position], texts[position] = new, new if text is None else text
    return replace(learned, class_names=tuple(names), class_texts=tuple(texts))


def forget(learned: ModelState, name: str) -> ModelState:
    """Remove a class from head, names and memory, as ``MGCLIP.forget`` does; later classes move up."""
    position = _position(learned, name)
    names, texts, sizes = list(learned.class_names), list(learned.class_texts), list(learned.task_sizes)
    del names[position], texts[position]
    task = next(t for t in range(len(sizes)) if position < sum(sizes[: t + 1]))
    sizes[task] -= 1  # a task without a class stays, because seeds depend on the number of tasks
    head = torch.cat([learned.head[:position], learned.head[position + 1 :]])
    memory = _without(learned.memory, position)
    return ModelState(learned.settings, learned.epochs, tuple(sizes), tuple(names), tuple(texts), head, memory)


def _without(memory: Memory | None, label: int) -> Memory | None:
    if memory is None:
        return None
    kept = memory.labels != label
    labels = memory.labels[kept]
    return Memory(memory.pixels[kept], labels - (labels > label).long()) if len(labels) else None


def _position(learned: ModelState, name: str) -> int:
    """The position of a class. Raises ``InputError`` if it was not learned."""
    position = index_of(name, learned.class_names)
    if position is None:
        close = get_close_matches(visible_form(name), {visible_form(other): other for other in learned.class_names}, 1)
        named = [other for other in learned.class_names if close and visible_form(other) == close[0]]
        known = count(len(learned.class_names), "class", "classes")
        example = f", such as {learned.class_names[0]!r}" if learned.class_names else ""
        hint = f"did you mean {named[0]!r}?" if named else f"it has learned {known}{example}."
        raise InputError(f"The model has not learned the class {name!r}: {hint}")
    return position
