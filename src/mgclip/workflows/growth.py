"""Images for classes that the model knows already: those that it has learned or holds out are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mgclip.errors import InputError
from mgclip.method.learner import MGCLIP
from mgclip.names import canonical
from mgclip.stream.duplicates import find_duplicates
from mgclip.words import count, were
from mgclip.workflows.source import Source


def grows_classes(model: MGCLIP) -> bool:
    """Whether a known class of the model can learn more images."""
    return model.settings.compensation == "analytic"


def leave_out_known_images(model: MGCLIP, source: Source, held_out: Mapping[str, Sequence[Path]]) -> tuple[Source, list[str]]:
    """Leave out the images of known classes that the model has learned in the same class, or holds out.

    Images are compared by their pixels with those that were learned, and by the content of their files with those held out.

    Args:
        model: The model. One with a trained head knows no images, and keeps the source as it is.
        source: The folder to learn from.
        held_out: The held-out images by class.

    Returns:
        The source, whose known classes have the names and texts of the model, and sentences on what was left out.

    Raises:
        InputError: If no image is left, or an image of a known class cannot be read.
    """
    names = {canonical(name): name for name in model.class_names}
    known = {name: names[canonical(name)] for name in source.train if canonical(name) in names}
    if not known or not grows_classes(model):
        return source, []
    held = {canonical(name): files for name, files in held_out.items()}
    train: dict[str, list[Path]] = {}
    learned, kept_out = 0, 0
    elsewhere: list[tuple[Path, str]] = []
    for name, files in source.train.items():
        if name not in known:
            train[name] = files
            continue
        own = known[name]
        out = {file for file, _ in find_duplicates(held.get(canonical(name), ()), files)}
        left = [file for file in files if file not in out]
        before = model.learned_as(left)
        elsewhere += [(file, was[0]) for file, was in zip(left, before, strict=True) if was and own not in was]
        new = [file for file, was in zip(left, before, strict=True) if own not in was]
        kept_out += len(files) - len(left)
        learned += len(left) - len(new)
        if new:
            train[own] = new
    if not train:
        old = learned + kept_out
        raise InputError(
            f"There is no new image: {count(old, 'image')} of known classes {were(old)} learned before, or held out."
        )
    notes = _notes(learned, kept_out, elsewhere)
    of_model = dict(zip(model.class_names, model.class_texts, strict=True))
    if other := [own for name, own in known.items() if source.texts.get(name, name) not in (name, of_model[own])]:
        notes.append(f"known classes keep their texts: {', '.join(other)}")
    texts = {**source.texts, **{own: of_model[own] for own in known.values()}}
    tests = source.tests and {names.get(canonical(name), name): files for name, files in source.tests.items()}
    return replace(source, train=train, texts=texts, tests=tests), notes


def _notes(learned: int, kept_out: int, elsewhere: Sequence[tuple[Path, str]]) -> list[str]:
    notes = []
    if learned:
        notes.append(f"left out, because the model has learned the same pixels in the same class: {count(learned, 'image')}")
    if kept_out:
        notes.append(f"still held out, to measure on: {count(kept_out, 'image')}")
    if elsewhere:
        file, was = elsewhere[0]
        notes.append(
            f"{count(len(elsewhere), 'image')} of known classes were learned as another class before, and would count in both "
            f"({file} as {was}): `mgclip correct` gives an image its right class"
        )
    return notes
