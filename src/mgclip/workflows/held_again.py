"""Test images that are held out already: each is measured once, in the class in which it is given now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mgclip.names import canonical
from mgclip.stream.duplicates import find_duplicates
from mgclip.words import count
from mgclip.workflows.held_out import HeldOut


def measured_once(
    given: Mapping[str, Sequence[Path]], held_out: HeldOut, classes: Sequence[str]
) -> tuple[frozenset[Path], HeldOut, list[str]]:
    """Find the test images that are held out already, as in a folder whose test part is given every month.

    Args:
        given: Test images by class.
        held_out: The images that are held out already, by class.
        classes: The classes that the model knows.

    Returns:
        The test images that stay held out, so that they are no new ones; the held-out images, without those that are given in a
        new class, each in the known class in which it is given now; and sentences on both.
    """
    called = {canonical(name): name for name in classes}
    given_in = {file: name for name, files in given.items() for file in files}
    held_in = {image.path: name for name, own in held_out.items() for image in own}
    again = {file for file, _ in find_duplicates(list(held_in), list(given_in)) if canonical(given_in[file]) in called}
    moved = {
        path: file
        for path, file in find_duplicates(list(given_in), list(held_in))
        if canonical(given_in[file]) != canonical(held_in[path])
    }
    left: HeldOut = {}
    for name, own in held_out.items():
        for image in own:
            now = given_in[moved[image.path]] if image.path in moved else name
            if (known := called.get(canonical(now))) is not None:
                left.setdefault(known, []).append(image)
    return frozenset(again), left, _notes(len(again), [(file, held_in[path]) for path, file in moved.items()])


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
