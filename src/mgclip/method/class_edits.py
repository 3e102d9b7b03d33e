"""Edit a learned model without training: rename, unite or remove classes, correct images, merge two models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches

import torch
from torch import Tensor

from mgclip.errors import InputError
from mgclip.method import solved_head
from mgclip.method.model_files import ModelState
from mgclip.method.replay import Memory
from mgclip.method.solved_head import Images, SolvedHead, TextLogits
from mgclip.names import check_distinguishable, index_of, visible_form
from mgclip.words import count

LogitsOver = Callable[[Sequence[str]], TextLogits]
"""The text branch over classes with these texts."""


def relabel(learned: ModelState, old: str, new: str, text: str | None, logits_over: LogitsOver) -> ModelState:
    """Rename a class, or unite it with the class that has the new name, as ``MGCLIP.relabel`` does."""
    position = position_of(learned.class_names, old)
    if not new.strip():
        raise InputError(f"The class {old!r} needs a name; found {new!r}.")
    others = [name for other, name in enumerate(learned.class_names) if other != position]
    if index_of(new, others) is not None:
        return _united(learned, position, position_of(learned.class_names, new), text, logits_over)
    check_distinguishable([new], others)
    names, texts = list(learned.class_names), list(learned.class_texts)
    names[position], texts[position] = new, new if text is None else text
    renamed = replace(learned, class_names=tuple(names), class_texts=tuple(texts))
    if learned.solved is None:
        return renamed
    return replace(
        renamed, solved=solved_head.resolved(learned.solved, logits_over(texts))
    )  # another text weighs otherwise


def _united(learned: ModelState, position: int, into: int, text: str | None, logits_over: LogitsOver) -> ModelState:
    old, new = learned.class_names[position], learned.class_names[into]
    if learned.solved is None:
        raise InputError(
            f"The class {new!r} is learned already, and a trained head cannot unite two classes: give {old!r} another name."
        )
    texts = list(learned.class_texts)
    texts[into] = texts[into] if text is None else text
    left = _without_class(replace(learned, class_texts=tuple(texts)), position)
    return replace(left, solved=solved_head.unite(learned.solved, position, into, logits_over(left.class_texts)))


def forget(learned: ModelState, name: str, images: Images | None, logits_over: LogitsOver) -> ModelState:
    """Remove a class from head, names and memory, as ``MGCLIP.forget`` does; later classes move up.

    Args:
        learned: What the model has learned.
        name: The class.
        images: All images of the class, to remove every trace of them from a solved head.
        logits_over: The text branch.
    """
    position = position_of(learned.class_names, name)
    left = _without_class(learned, position)
    if learned.solved is None:
        if images is not None:
            raise InputError("Only a solved head can forget images; a trained one forgets the row of the class.")
        head = torch.cat([learned.head[:position], learned.head[position + 1 :]])
        return replace(left, head=head, memory=_without(learned.memory, position))
    if images is not None:
        images = _without_copies(learned.solved, position, images)
        _check_all_images(learned.solved, position, images, name)
    return replace(left, solved=solved_head.forget(learned.solved, position, images, logits_over(left.class_texts)))


def correct(
    learned: ModelState, images: Images, names: Sequence[str], logits_over: LogitsOver
) -> tuple[ModelState, list[str | None]]:
    """Give images their right classes.

    Args:
        learned: What the model has learned.
        images: The images; their labels are not used.
        names: The right class of each image.
        logits_over: The text branch.

    Returns:
        What the model has learned then, and the class as which each image was learned before, or None.
    """
    head = _solved(learned, "correct single images")
    right = [position_of(learned.class_names, name) for name in names]
    rows: list[int] = []
    wrong: list[int] = []  # the class that each row is taken out of, or -1
    was: list[str | None] = []
    wanted: dict[int, int] = {}
    before = solved_head.learned_as(head, images.marks)
    for row, (mark, label, labels) in enumerate(zip(images.marks.tolist(), right, before, strict=True)):
        others = [other for other in labels if other != label]
        was.append(learned.class_names[(others or labels)[0]] if labels else None)
        if wanted.get(mark, label) != label:
            one, two = learned.class_names[wanted[mark]], learned.class_names[label]
            raise InputError(f"Images with the same pixels have two classes, {one!r} and {two!r}: give them one class.")
        if mark not in wanted:  # a copy is corrected with the first one
            out = others if labels else [-1]
            rows, wrong = rows + [row] * len(out), wrong + out
        wanted[mark] = label
    if rows:
        device = images.labels.device
        moved = replace(images, labels=torch.tensor(right, device=device)).take(torch.tensor(rows, device=device))
        taken_out = torch.tensor(wrong, device=device)
        head = solved_head.correct(head, moved, taken_out, logits_over(learned.class_texts))
    return replace(learned, solved=head), was


def merge(learned: ModelState, other: ModelState, logits_over: LogitsOver) -> ModelState:
    """Add what another model of the same CLIP has learned. Raises ``InputError`` if their heads cannot be added."""
    head, added = _solved(learned, "merge"), _solved(other, "merge")
    for what, one, two in (
        ("number of random features", head.fourier.width, added.fourier.width),
        ("gamma", head.fourier.gamma, added.fourier.gamma),
        ("seed", head.fourier.seed, added.fourier.seed),
        ("prompt", learned.settings.prompt, other.settings.prompt),
    ):
        if one != two:
            raise InputError(
                f"The models differ in their {what} ({one} and {two}), so their sums cannot be added: start the second one with "
                "--like and the first one, and learn its images again."
            )
    names, texts, places = list(learned.class_names), list(learned.class_texts), []
    for name, text in zip(other.class_names, other.class_texts, strict=True):
        place = index_of(name, names)
        if place is None:
            check_distinguishable([name], names)
            place = len(names)
            names.append(name)
            texts.append(text)
        places.append(place)
    sizes = (*learned.task_sizes, len(names) - len(learned.class_names))
    solved = solved_head.merge(head, added, places, logits_over(texts))
    return replace(learned, task_sizes=sizes, class_names=tuple(names), class_texts=tuple(texts), solved=solved)


def _solved(learned: ModelState, act: str) -> SolvedHead:
    if learned.solved is None:
        raise InputError(
            f"A model with a trained head cannot {act}: only a solved head, of a model with analytic compensation, can."
        )
    return learned.solved


def _without_copies(head: SolvedHead, label: int, images: Images) -> Images:
    """Images of a class. Of images with the same pixels, as many as were learned."""
    left = Counter(head.learned.take(head.learned.labels == label).marks.tolist())
    surplus = Counter(images.marks.tolist())
    surplus.subtract(left)
    kept = []
    for row, mark in enumerate(images.marks.tolist()):
        if mark in left and surplus[mark] > 0:
            surplus[mark] -= 1
        else:
            kept.append(row)
    taken = images.take(torch.tensor(kept, dtype=torch.long, device=images.labels.device))
    return replace(taken, labels=torch.full_like(taken.labels, label))


def _check_all_images(head: SolvedHead, label: int, images: Images, name: str) -> None:
    """Check that these are the images of a class, as it was learned."""
    own = head.learned.take(head.learned.labels == label).marks.sort().values
    if not torch.equal(own.cpu(), images.marks.sort().values.cpu()):
        raise InputError(
            f"These are not the images from which {name!r} was learned ({len(own)} were learned, {len(images)} are given): "
            "give exactly those, or none."
        )


def _without_class(learned: ModelState, position: int) -> ModelState:
    """Names, texts and task sizes without a class. A task without a class stays, because seeds depend on the number of tasks."""
    names, texts, sizes = list(learned.class_names), list(learned.class_texts), list(learned.task_sizes)
    del names[position], texts[position]
    sizes[next(t for t in range(len(sizes)) if position < sum(sizes[: t + 1]))] -= 1
    return replace(learned, task_sizes=tuple(sizes), class_names=tuple(names), class_texts=tuple(texts))


def _without(memory: Memory | None, label: int) -> Memory | None:
    if memory is None:
        return None
    kept = memory.labels != label
    labels: Tensor = memory.labels[kept]
    return Memory(memory.pixels[kept], labels - (labels > label).long()) if len(labels) else None


def position_of(learned: Sequence[str], name: str) -> int:
    """The position of a class among those learned. Raises ``InputError`` if it is not one of them."""
    position = index_of(name, learned)
    if position is None:
        close = get_close_matches(visible_form(name), {visible_form(other): other for other in learned}, 1)
        named = [other for other in learned if close and visible_form(other) == close[0]]
        known = count(len(learned), "class", "classes")
        example = f", such as {learned[0]!r}" if learned else ""
        hint = f"did you mean {named[0]!r}?" if named else f"it has learned {known}{example}."
        raise InputError(f"The model has not learned the class {name!r}: {hint}")
    return position
