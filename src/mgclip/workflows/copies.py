"""Find copies among the images to learn and to measure on, and describe them in sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mgclip.stream.duplicates import find_duplicates, find_in_one_class, find_in_two_classes
from mgclip.stream.near_copies import nearest_of, thumbnails
from mgclip.words import are, count
from mgclip.workflows.measure import flatten
from mgclip.workflows.source import Source

Pairs = tuple[tuple[Path, Path], ...]
LISTED = 3
"""The most pairs of images that a sentence names."""


def without_copies(source: Source) -> tuple[Source, str]:
    """Leave out the images to learn that are copies of others of their class. Returns the source, and a sentence about them."""
    train: dict[str, list[Path]] = {}
    found: list[tuple[Path, Path]] = []
    for name, files in source.train.items():
        different = list(dict.fromkeys(files))  # united classes may have the same file
        copies = dict(find_in_one_class(different))
        train[name] = [file for file in different if file not in copies]
        found += copies.items()
    what = f"left out, because another file of the class has the same content: {count(len(found), 'image')}, such as "
    named = "; ".join(f"{copy} (the same as {original})" for copy, original in found[:LISTED])
    return replace(source, train=train), what + named if found else ""


def find_copies(
    train: Mapping[str, Sequence[Path]], tests: Mapping[str, Sequence[Path]], on_images: Callable[[int, int], None]
) -> tuple[Pairs, list[str]]:
    """Find image files that are in two classes, and test images that are training images or nearly the same.

    Args:
        train: Training images by class.
        tests: Images to measure on by class.
        on_images: Called while images are opened, with the number opened so far and the total.

    Returns:
        Each copy with its original, and sentences about them.
    """
    (files, _), (test_files, _) = flatten(train), flatten(tests)
    in_two = find_in_two_classes({name: [*own, *tests.get(name, [])] for name, own in train.items()})
    named = {file for pair in in_two for file in pair}
    same = [pair for pair in find_duplicates(files, test_files) if not named.issuperset(pair)]
    near = _nearly_the_same(files, test_files, {*named, *(file for file, _ in same)}, on_images)
    of_tests = f"of {count(len(test_files), 'test image')}"
    notes = [
        _sentence(in_two, f"{count(len(in_two), 'image')} of one class {are(len(in_two))} also in another class"),
        _sentence(same, f"{len(same):,} {of_tests} {are(len(same))} also among the training images"),
        _sentence(
            near, f"{len(near):,} {of_tests} {are(len(near))} nearly the same as a training image, so accuracy there says little"
        ),
    ]
    return (*in_two, *same, *near), [note for note in notes if note]


def _nearly_the_same(
    train: Sequence[Path], tests: Sequence[Path], known: set[Path], on_images: Callable[[int, int], None]
) -> list[tuple[Path, Path]]:
    left = [file for file in tests if file not in known]
    if not left:
        return []
    done, total = 0, len(train) + len(left)

    def counted(number: int) -> None:
        nonlocal done
        done += number
        on_images(done, total)

    found = nearest_of(thumbnails(left, counted), thumbnails(train, counted))
    return [(file, train[place]) for file, place in zip(left, found.tolist(), strict=True) if place >= 0]


def _sentence(pairs: Sequence[tuple[Path, Path]], what: str) -> str:
    if not pairs:
        return ""
    named = "; ".join(f"{one} and {other}" for one, other in pairs[:LISTED])
    return f"{what}, such as {named}"
