"""The classes of a folder: image files of each class folder, and what the classes are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mgclip.errors import InputError
from mgclip.images import unreadable
from mgclip.names import check_alike, find, same
from mgclip.stream.folder import SPLIT_LAYOUT, find_parts, read_classes, why_empty
from mgclip.workflows.naming import Called, read_naming


@dataclass(frozen=True)
class Source:
    """A folder as read: image files by class name, what prompts call each class, and the test images, if any are given. ``tests``
    may hold classes that ``train`` does not. ``note`` says which part of the folder is measured on, if there was a choice.
    """

    folder: Path
    train: dict[str, list[Path]]
    texts: dict[str, str]
    tests: dict[str, list[Path]] | None
    note: str | None = None


def read_source(folder: Path, *, names: str = "", test: Path | None = None) -> Source:
    """Read a folder of class folders, or one that is split into ``train/`` and ``test/`` (or what others call these).

    Args:
        folder: The folder to learn from.
        names: What the class folders are called, if not by their own names: a CSV file with the columns folder, name and, if
            prompts say something else, text; or ``folder=name,folder=name``. Without it, ``classes.csv`` in the folder counts.
        test: A folder to measure on, instead of the folder's own test part.

    Returns:
        The classes and their images.

    Raises:
        InputError: If a class folder is missing or has no image, a name is given twice, or a table does not fit.
    """
    parts = find_parts(folder)
    if parts.train is None:
        raise InputError(f"{folder} has no part to train on: expected {SPLIT_LAYOUT}.")
    train, called = read_classes(parts.train), read_naming(folder, names)
    if undecodable := [name for name in train if not name.isprintable() and _surrogate(name)]:
        raise InputError(f"The name of the class folder {undecodable[0]!r} is not text: rename it.")
    if unknown := sorted(called.keys() - set(map(same, train))):
        raise InputError(f"There is no class folder {unknown[0]!r} in {parts.train}: correct its name in the table.")
    _check_full(train, parts.train)
    place = parts.test if test is None else _measured(test)
    tests = None if place is None else _named(read_classes(place), called, place)
    texts = dict(called.values())
    return Source(folder, _named(train, called, parts.train), texts, tests, parts.about if test is None else None)


def read_images(folder: Path, *, names: str = "") -> dict[str, list[Path]]:
    """Read a folder of class folders to measure on, or the test part of one that is split.

    Args:
        folder: The folder.
        names: What its class folders are called, as ``read_source`` takes it.

    Returns:
        Image files by class name.

    Raises:
        InputError: If there is no class folder, one has no image, a name is given twice, or a table does not fit.
    """
    place = _measured(folder)
    classes = read_classes(place)
    _check_full(classes, place)
    return _named(classes, read_naming(folder, names), place)


def _measured(folder: Path) -> Path:
    parts = find_parts(folder)
    return parts.test or parts.train or folder


def _check_full(classes: Mapping[str, Sequence[Path]], place: Path) -> None:
    if empty := [name for name, files in classes.items() if not files]:
        raise InputError(f"The class {empty[0]!r} has no image in {place}: {why_empty(place, empty[0])}.")


def readable(images: Mapping[str, Sequence[Path]]) -> tuple[dict[str, list[Path]], list[dict[str, str]]]:
    """The image files that can be read, by class, and of the others ``image`` and ``reason``. All are decoded once.

    Raises ``InputError`` for a class of which none can be.
    """
    files = [file for own in images.values() for file in own]
    found = {files[place]: reason for place, reason in unreadable(files).items()}
    left = {name: [file for file in own if file not in found] for name, own in images.items()}
    if empty := [name for name, own in images.items() if own and not left[name]]:
        raise InputError(f"No image of the class {empty[0]!r} can be read: replace them.")
    return left, [{"image": str(file), "reason": reason} for file, reason in found.items()]


def _surrogate(name: str) -> bool:
    """Whether a file name came from bytes that are no UTF-8."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)


def _named(classes: Mapping[str, list[Path]], called: Called, where: Path) -> dict[str, list[Path]]:
    named: dict[str, list[Path]] = {}
    for place, files in classes.items():
        name = called.get(same(place), (place, place))[0]
        if find(name, named) is not None:
            raise InputError(f"Two class folders of {where} are called {name!r}: give every class one name of its own.")
        named[name] = files
    check_alike(list(named))
    return named
