"""The classes of a folder: image files of each class folder, and what the classes are called."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mgclip.errors import InputError
from mgclip.images import unreadable
from mgclip.stream.folder import find_parts, read_classes

TABLE = "classes.csv"


@dataclass(frozen=True)
class Source:
    """A folder as read: image files by class name, what prompts call each class, and where the test images came from, if any
    are given. ``tests`` may hold classes that ``train`` does not.
    """

    folder: Path
    train: dict[str, list[Path]]
    texts: dict[str, str]
    tests: dict[str, list[Path]] | None


def read_source(folder: Path, *, names: str = "", test: Path | None = None) -> Source:
    """Read a folder of class folders, or of ``train/`` and ``test/`` (or ``val/``).

    Names are those of the class folders unless ``classes.csv`` in the folder, or ``names``, says otherwise: a CSV file with the
    columns folder, name and, if prompts say something else, text; or ``folder=name,folder=name``. Raises ``InputError`` for a
    missing or empty class folder, a name given twice, and a table that does not fit.
    """
    train_folder, beside = find_parts(folder)
    train, called = read_classes(train_folder), _naming(folder, names)
    if undecodable := [name for name in train if not name.isprintable() and _surrogate(name)]:
        raise InputError(f"The name of the class folder {undecodable[0]!r} is no text: rename it.")
    if unknown := sorted(called.keys() - train.keys()):
        raise InputError(f"There is no class folder {unknown[0]!r} in {train_folder}: correct its name in the table.")
    if empty := [name for name, files in train.items() if not files]:
        raise InputError(f"The class {empty[0]!r} has no image in {train_folder}: add one, or remove its folder.")
    test_folder = test or beside
    tests = None if test_folder is None else read_images(test_folder, called=called)
    texts = {called[place][0]: called[place][1] for place in called}
    return Source(folder, _named(train, called, train_folder), texts, tests)


def read_images(
    folder: Path, *, names: str = "", called: Mapping[str, tuple[str, str]] | None = None
) -> dict[str, list[Path]]:
    """Image files by class name, of a folder to measure on: of its ``test/`` (or ``val/``) beside ``train/`` if it has both."""
    train_folder, test_folder = find_parts(folder)
    place = test_folder or train_folder
    return _named(read_classes(place), _naming(folder, names) if called is None else called, place)


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


def _named(
    classes: Mapping[str, list[Path]], called: Mapping[str, tuple[str, str]], where: Path
) -> dict[str, list[Path]]:
    named: dict[str, list[Path]] = {}
    for place, files in classes.items():
        name = called.get(place, (place, place))[0]
        if name in named:
            raise InputError(f"Two class folders of {where} are called {name!r}: give every class one name of its own.")
        named[name] = files
    return named


def _naming(folder: Path, names: str) -> dict[str, tuple[str, str]]:
    """Class folder -> name and text."""
    if names and not names.endswith(".csv"):
        pairs = [pair.partition("=") for pair in names.split(",")]
        if wrong := [pair for pair in pairs if not all(part.strip() for part in pair)]:
            raise InputError(f"--names takes a CSV file or folder=name,folder=name; found {''.join(wrong[0])!r}.")
        return {place.strip(): (name.strip(), name.strip()) for place, _, name in pairs}
    table = Path(names) if names else folder / TABLE
    if not table.is_file():
        if names:
            raise InputError(f"There is no table of class names {table}.")
        return {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table of class names {table} cannot be read ({error}).") from None
    called = {}
    for number, line in enumerate(lines, start=2):
        place, name = (line.get("folder") or "").strip(), (line.get("name") or "").strip()
        if not place or not name:
            raise InputError(f"Line {number} of {table} needs a folder and a name, under a first line  folder,name.")
        called[place] = name, (line.get("text") or "").strip() or name
    return called
