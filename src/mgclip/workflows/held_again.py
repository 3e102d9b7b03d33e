"""Test images that are held out already: each is measured once, in the class in which it is given now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mgclip.names import canonical
from mgclip.stream.duplicates import find_duplicates
from mgclip.words import count
from mgclip.workflows.held_out import HeldOut, copies_of, is_there


def measured_once(
    given: Mapping[str, Sequence[Path]], held_out: HeldOut, known: Sequence[str], new: Iterable[str]
) -> tuple[frozenset[Path], HeldOut, list[str]]:
    """Find the test images that are held out already, as in a folder whose test part is given every month.

    Args:
        given: Test images by class.
        held_out: The images that are held out already, by class.
        known: The classes that the model knows.
        new: The classes to learn. Test images of other classes are not used.

    Returns:
        The test images that stay held out, so that they are no new ones; the held-out images, without those that are given in a
        new class, each in the known class in which it is given now; and sentences on both.
    """
    called = {canonical(name): name for name in known}
    used = {*called, *map(canonical, new)}
    given_in = {file: name for name, files in given.items() if canonical(name) in used for file in files}
    held_in = {image.path: (name, image) for name, own in held_out.items() for image in own}
    again = {file for file in copies_of(held_out, list(given_in)) if canonical(given_in[file]) in called}
    moved = {}
    for path, file in find_duplicates(list(given_in), list(held_in)):
        name, image = held_in[path]
        if canonical(given_in[file]) != canonical(name) and is_there(image):
            moved[path] = file
    left: HeldOut = {}
    for path, (name, image) in held_in.items():
        now = canonical(given_in[moved[path]] if path in moved else name)
        if now in called:
            left.setdefault(called[now], []).append(image)
    return frozenset(again), left, _notes(len(again), [(file, held_in[path][0]) for path, file in moved.items()])


def _notes(again: int, moved: Sequence[tuple[Path, str]]) -> list[str]:
    notes = []
    if again:
        notes.append(f"held out already, so measured with the images of earlier classes: {count(again, 'test image')}")
    if moved:
        images, (file, name) = count(len(moved), "test image"), moved[0]
        notes.append(
            f"held out as another class before, and measured in the class of their folder now: {images} ({file} as {name})"
        )
    return notes
