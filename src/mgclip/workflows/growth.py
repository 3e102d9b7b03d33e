"""Images that the model knows already: those that it has learned in their class or holds out are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mgclip.errors import InputError
from mgclip.method.learner import MGCLIP
from mgclip.names import canonical
from mgclip.words import count, were
from mgclip.workflows.held_out import HeldOut, copies_of
from mgclip.workflows.source import Source

FIRST = 10
"""Images of a new class that are looked up before the others are."""


def grows_classes(model: MGCLIP) -> bool:
    """Whether a known class of the model can learn more images."""
    return model.settings.compensation == "analytic"


def leave_out_known_images(model: MGCLIP, source: Source, held_out: HeldOut) -> tuple[Source, list[str], frozenset[Path]]:
    """Leave out the images that the model has learned in the same class, or holds out in any class.

    Images are compared by their pixels with those that were learned, and by the content of their files with those held out.

    Args:
        model: The model. One with a trained head knows no images, and keeps a source with known classes as it is.
        source: The folder to learn from.
        held_out: The held-out images by class.

    Returns:
        The source, whose known classes have the names and texts of the model; sentences on what was left out or is learned in
        two classes; and the images that were learned as another class, which cannot be held out any more.

    Raises:
        InputError: If no image is left, or an image cannot be read.
    """
    names = {canonical(name): name for name in model.class_names}
    known = {name: names[canonical(name)] for name in source.train if canonical(name) in names}
    if not names or (known and not grows_classes(model)):
        return source, [], frozenset()
    train, old = _sorted(model, source.train, known, held_out)
    if not train:
        raise old.error()
    notes = old.notes()
    of_model = dict(zip(model.class_names, model.class_texts, strict=True))
    if other := [own for name, own in known.items() if source.texts.get(name, name) not in (name, of_model[own])]:
        notes.append(f"known classes keep their texts: {', '.join(other)}")
    texts = {**source.texts, **{own: of_model[own] for own in known.values()}}
    tests = source.tests and {names.get(canonical(name), name): files for name, files in source.tests.items()}
    learned = frozenset(file for file, _ in (*old.known_elsewhere, *old.new_elsewhere))
    return replace(source, train=train, texts=texts, tests=tests), notes, learned


def _sorted(
    model: MGCLIP, train: Mapping[str, Sequence[Path]], known: Mapping[str, str], held_out: HeldOut
) -> tuple[dict[str, list[Path]], _Old]:
    """The new images by the name of their class in the model, and those that are not new. ``known``: the name in the model of
    each class that it knows.
    """
    class_of = {image.path: name for name, own in held_out.items() for image in own}
    held = copies_of(held_out, [file for files in train.values() for file in files])
    first = [file for name, files in train.items() if name not in known for file in files[:FIRST]]
    copied = {file for file, was in zip(first, model.learned_as(first), strict=True) if was}
    new, old = {}, _Old()
    for name, files in train.items():
        own = known.get(name, name)
        held_as = [(file, class_of[held[file]]) for file in files if file in held]
        held_elsewhere = [(file, of) for file, of in held_as if canonical(of) != canonical(name)]
        old.held += len(held_as) - len(held_elsewhere)
        old.held_elsewhere += held_elsewhere
        left = [file for file in files if file not in held]
        # The images of a new class are opened only if one of the first was learned, as in a folder that was copied or renamed.
        look = name in known or not copied.isdisjoint(files)
        learned_as = list(zip(left, model.learned_as(left) if look else [()] * len(left), strict=True))
        elsewhere = [(file, was[0]) for file, was in learned_as if was and own not in was]
        (old.known_elsewhere if name in known else old.new_elsewhere).extend(elsewhere)
        if kept := [file for file, was in learned_as if own not in was]:
            new[own] = kept
        old.learned += len(left) - len(kept)
    return new, old


@dataclass
class _Old:
    """Images that are not new to a model: the numbers of those learned and held out in the same class, and those held out or
    learned in another class, with that class.
    """

    learned: int = 0
    held: int = 0
    held_elsewhere: list[tuple[Path, str]] = field(default_factory=list)
    known_elsewhere: list[tuple[Path, str]] = field(default_factory=list)
    new_elsewhere: list[tuple[Path, str]] = field(default_factory=list)

    def error(self) -> InputError:
        """What to say if there is no other image."""
        if self.held_elsewhere:
            file, name = self.held_elsewhere[0]
            return InputError(
                f"There is no new image: {file} is held out as {name}, and all others were learned before or are held out too: "
                "rename that class with `mgclip relabel`, or give other images."
            )
        number = self.learned + self.held
        return InputError(
            f"There is no new image: {count(number, 'image')} of known classes {were(number)} learned before, or held out."
        )

    def notes(self) -> list[str]:
        """Sentences on them."""
        notes = []
        if self.learned:
            images = count(self.learned, "image")
            notes.append(f"left out, because the model has learned the same pixels in the same class: {images}")
        if self.held:
            notes.append(f"still held out, to measure on: {count(self.held, 'image')}")
        if self.held_elsewhere:
            images, (file, name) = count(len(self.held_elsewhere), "image"), self.held_elsewhere[0]
            notes.append(f"left out, because held out as another class, to measure on: {images} ({file} as {name})")
        for kind, elsewhere, advice in (
            ("known", self.known_elsewhere, "`mgclip correct`, before `mgclip learn`, gives an image its right class"),
            ("new", self.new_elsewhere, "`mgclip relabel` renames a class; to split one, first forget it with its images"),
        ):
            if elsewhere:
                file, name = elsewhere[0]
                notes.append(
                    f"{count(len(elsewhere), 'image')} of {kind} classes {were(len(elsewhere))} learned as another class "
                    f"before, and would count in both ({file} as {name}): {advice}"
                )
        return notes
