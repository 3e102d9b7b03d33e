"""Edit a learned model without training: rename, unite or remove classes, correct images, merge two models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mgclip.errors import InputError
from mgclip.method.analytic import solved_head
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.solved_head import LogitsOver, SolvedHead
from mgclip.method.labels import class_text
from mgclip.method.model_files import ModelState
from mgclip.method.replay import Memory
from mgclip.names import (
    ALIKE,
    check_distinguishable,
    check_readable,
    find_alike,
    index_of,
    indices_of,
    loose_form,
    not_among,
    tidy,
)
from mgclip.words import closest, count


def relabel(learned: ModelState, old: str, new: str, text: str | None, logits_over: LogitsOver) -> ModelState:
    """Rename a class, or unite it with the class that has the new name, as ``MGCLIP.relabel`` does."""
    position, new = position_of(learned.class_names, old), tidy(new)
    if not new:
        raise InputError(f"The class {old!r} needs a name: give a new one that is not empty.")
    check_readable(new)
    text = None if text is None else class_text(text, old)
    others = [name for other, name in enumerate(learned.class_names) if other != position]
    if index_of(new, others) is not None:
        return _united(learned, position, position_of(learned.class_names, new), text, logits_over)
    if (other := find_alike(new, others)) is not None:
        raise InputError(
            f"The name {new!a} is probably the same as {other!a}, which the model knows ({ALIKE}): choose another name, or unite "
            f"{old!a} with {other!a}."
        )
    names, texts = list(learned.class_names), list(learned.class_texts)
    names[position], texts[position] = new, new if text is None else text
    renamed = replace(learned, class_names=tuple(names), class_texts=tuple(texts))
    if learned.solved is None:
        return renamed
    solved = solved_head.resolved(learned.solved, logits_over(texts))  # another text has another weight
    return replace(renamed, solved=solved)


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
    position = check_forget(learned, name, with_images=images is not None)
    left = _without_class(learned, position)
    if learned.solved is None:
        head = torch.cat([learned.head[:position], learned.head[position + 1 :]])
        counts = learned.counts
        kept = None if counts is None else torch.cat([counts[:position], counts[position + 1 :]])
        return replace(left, head=head, memory=_without(learned.memory, position), counts=kept)
    if images is not None:
        images = _as_often_as_learned(learned.solved, position, images, name)
    return replace(left, solved=solved_head.forget(learned.solved, position, images, logits_over(left.class_texts)))


def check_forget(learned: ModelState, name: str, *, with_images: bool) -> int:
    """The position of a class that can be removed. Raises ``InputError`` if it was not learned, or images are given and the head
    is a trained one.
    """
    if with_images and learned.settings.compensation == "trained":
        raise InputError("Only a solved head can forget images; a trained one forgets the row of the class: give no images.")
    return position_of(learned.class_names, name)


def correct(
    learned: ModelState, images: Images, names: Sequence[str], logits_over: LogitsOver, given: Sequence[object]
) -> tuple[ModelState, list[str | None]]:
    """Give images their right classes.

    Args:
        learned: What the model has learned.
        images: The images; their labels are not used.
        names: The right class of each image.
        logits_over: The text branch.
        given: The images as they were given; errors name their files.

    Returns:
        What the model has learned then, and for each image the first other class under which it was learned before; if there is
        none, its own class or, for an image that was not learned, None.

    Raises:
        InputError: If a class was not learned, one image is given two classes, or a class would lose its last image.
    """
    head, right = check_correct(learned, names)
    known = head.learned.labels_of(images.marks)
    once = _distinct(images, right, names, given)
    _check_none_emptied(learned, head, [(right[row], known[row]) for row in once])
    labelled = replace(images, labels=torch.tensor(right, dtype=torch.long, device=images.labels.device))
    solved = solved_head.correct(head, labelled.take(torch.tensor(once)), logits_over(learned.class_texts))
    before = [
        next((label for label in labels if label != own), labels[0] if labels else None)
        for labels, own in zip(known, right, strict=True)
    ]
    was = [None if label is None else learned.class_names[label] for label in before]
    return replace(learned, solved=solved), was


def check_correct(learned: ModelState, names: Sequence[str]) -> tuple[SolvedHead, list[int]]:
    """The head that can be corrected, and the positions of the right classes. Raises ``InputError`` if it is a trained one or a
    class was not learned.
    """
    head = solved_head_of(learned, "correct single images")
    return head, [position_of(learned.class_names, name) for name in names]


def _distinct(images: Images, right: Sequence[int], names: Sequence[str], given: Sequence[object]) -> list[int]:
    """The positions of images without those that were given before. Raises ``InputError`` if one is given two classes."""
    first: dict[int, int] = {}
    for row, mark in enumerate(images.marks.tolist()):
        earlier = first.setdefault(mark, row)
        if right[earlier] != right[row]:
            one, other = given[earlier], given[row]
            files = isinstance(one, str | os.PathLike) and isinstance(other, str | os.PathLike)
            both = f"{one} and {other}" if files else f"Images {earlier + 1} and {row + 1}"
            raise InputError(
                f"{both} have the same pixels but different classes, {names[earlier]!r} and {names[row]!r}: give every image one "
                "class."
            )
    return list(first.values())


def _check_none_emptied(learned: ModelState, head: SolvedHead, changes: Sequence[tuple[int, Sequence[int]]]) -> None:
    """Check that every class keeps an image. Each change is the right class of an image and those it was learned as."""
    left = head.sums.counts.tolist()
    for right, before in changes:
        left[right] += max(1, len(before))
        for label in before:
            left[label] -= 1
    if 0 in left:
        raise InputError(
            f"No image would be left in the class {learned.class_names[left.index(0)]!r}: unite it with another class, or "
            "forget it."
        )


def merge(learned: ModelState, other: ModelState, logits_over: LogitsOver) -> ModelState:
    """Add what another model of the same CLIP has learned. Raises ``InputError`` if their heads cannot be added."""
    head = solved_head_of(learned, "merge")
    added = solved_head_of(other, "merge").to(head.sums.gram.device)
    for what, one, two in (
        ("number of random features", head.fourier.width, added.fourier.width),
        ("kernel", head.fourier.kernel, added.fourier.kernel),
        ("representation", head.fourier.representation, added.fourier.representation),
        ("gamma", head.fourier.gamma, added.fourier.gamma),
        ("seed", head.fourier.seed, added.fourier.seed),
        ("class balance", head.sums.class_balance, added.sums.class_balance),
        ("prompt", learned.settings.prompt, other.settings.prompt),
        ("jpeg_draft", learned.settings.jpeg_draft, other.settings.jpeg_draft),  # they would not recognise each other's images
    ):
        if one != two:
            raise InputError(
                f"The models differ in their {what} ({one} and {two}), so their sums cannot be added: start the second model "
                "with --like and the folder of the first one, and learn its images again."
            )
    if (head.bank is None, head.frozen is None) != (added.bank is None, added.frozen is None):
        raise InputError(
            "Only one of the models has adapters that may learn again, and only its head could follow them: start the second "
            "model with --like and the folder of the first one, and learn its images again."
        )
    only_here = {loose_form(name): name for name in not_among(learned.class_names, other.class_names)}
    names, texts, places = list(learned.class_names), list(learned.class_texts), []
    found = indices_of(other.class_names, names)
    check_distinguishable(not_among(other.class_names, names), names)
    for name, text, place in zip(other.class_names, other.class_texts, found, strict=True):
        if place is None:
            if (own := only_here.get(loose_form(name))) is not None:
                raise InputError(
                    f"The class {name!a} of the other model is probably the same as {own!a} ({ALIKE}): rename one of them with "
                    "`relabel`."
                )
            place = len(names)
            names.append(name)
            texts.append(text)
        places.append(place)
    sizes = (*learned.task_sizes, len(names) - len(learned.class_names))
    solved = solved_head.merge(head, added, places, logits_over(texts))
    return replace(learned, task_sizes=sizes, class_names=tuple(names), class_texts=tuple(texts), solved=solved)


def solved_head_of(learned: ModelState, act: str) -> SolvedHead:
    """The solved head of a model. Raises ``InputError``, which names what it cannot do, if it has none."""
    if learned.solved is None and learned.settings.compensation == "analytic":
        raise InputError(f"A model that has learned no class cannot {act}: learn a first task.")
    if learned.solved is None:
        raise InputError(
            f"A model with a trained head cannot {act}: only a solved head can, as in the method mg-clip-analytic "
            "(compensation=analytic)."
        )
    return learned.solved


def _as_often_as_learned(head: SolvedHead, label: int, images: Images, name: str) -> Images:
    """The images of a class, each as often as the class was learned from it, however often it is given.

    Raises ``InputError`` if one is missing, or the class was not learned from one.
    """
    learned = head.learned.take(head.learned.labels == label).marks.tolist()
    row_of = {mark: row for row, mark in enumerate(images.marks.tolist())}
    if row_of.keys() != set(learned):
        raise InputError(
            f"These are not the images from which {name!r} was learned (learned: {len(set(learned))}, given: {len(row_of)}): "
            "give exactly those, or none."
        )
    return images.take(torch.tensor([row_of[mark] for mark in learned], dtype=torch.long, device=images.labels.device))


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
        close = closest(name, learned)
        known = count(len(learned), "class", "classes")
        example = f", such as {learned[0]!r}" if learned else ""
        hint = f"it has learned {known}{example}." if close is None else f"did you mean {close!r}?"
        raise InputError(f"The model has not learned the class {name!r}: {hint}")
    return position
