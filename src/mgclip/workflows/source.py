"""Read the classes of a folder: the image files of each class folder, and the names of the classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mgclip.errors import InputError
from mgclip.experiment.schemas import SkippedImage
from mgclip.image_formats import missing_plugin
from mgclip.images import find_unreadable_images
from mgclip.names import canonical, check_distinguishable, has_surrogate, tidy, undecodable
from mgclip.stream.folder import SPLIT_LAYOUT, find_parts, read_classes, why_empty
from mgclip.stream.walk import entries, is_file, is_image_name, subfolders, walk
from mgclip.words import count
from mgclip.workflows.alike_names import AlikeNames, choose_names, rename
from mgclip.workflows.naming import Naming, read_naming


@dataclass(frozen=True)
class Source:
    """A folder to learn from.

    Attributes:
        folder: The folder.
        train: Training images by class name.
        texts: What prompts call a class, if not by its name.
        tests: Test images by class name, if there are any; they may have classes that ``train`` has not.
        notes: Which part of the folder is tested on, if there was a choice; which classes became one; what is not read.
    """

    folder: Path
    train: dict[str, list[Path]]
    texts: dict[str, str]
    tests: dict[str, list[Path]] | None
    notes: tuple[str, ...] = ()


def read_source(
    folder: Path, *, names: str = "", test: Path | None = None, known: Sequence[str] = (), merge_names: bool = False
) -> Source:
    """Read a folder of class folders, or one with a training part and a test part.

    Args:
        folder: The folder to learn from.
        names: Names of the classes, if not those of their folders: a CSV file with the columns folder, name and, if prompts use
            another text, text; or ``folder=name,folder=name``. Default: ``classes.csv`` in the folder, if it exists.
        test: A folder to measure on, instead of the folder's own test part.
        known: The classes that the model knows already.
        merge_names: Merge classes whose names differ only in case, spaces, hyphens, underscores or the form of a letter.

    Returns:
        The images by class, and the texts.

    Raises:
        InputError: If a class folder is missing or has no image, a name is given twice, names are alike and not merged, or the
            table of names is wrong.
    """
    parts = find_parts(folder)
    if parts.train is None:
        raise InputError(f"{folder} has no part to train on: expected {SPLIT_LAYOUT}.")
    train, called = read_classes(parts.train, check=False), read_naming(folder, names)
    if (wrong := next(filter(has_surrogate, train), None)) is not None:
        raise undecodable("name of the class folder", wrong, "rename it")
    folders = {canonical(name): name for name in train}
    unknown, unnamed = sorted(called.keys() - folders.keys()), sorted(folders.keys() - called.keys())
    if unknown and unnamed:  # one of them may be meant by the other; a table that names all folders may serve several months
        raise InputError(
            f"There is no class folder {unknown[0]!r} in {parts.train}, and the table of names has no line for "
            f"{folders[unnamed[0]]!r}: correct the table."
        )
    _check_full(train, parts.train)
    measured = parts.test if test is None else _measured_folder(test)
    train = _named(train, called, parts.train, merge=merge_names)
    chosen, united = choose_names(train, known, merge=merge_names)
    tests = None
    if measured is not None:
        tests = _named(read_classes(measured, check=not merge_names), called, measured, merge=merge_names)
        if merge_names:
            tests = rename(tests, choose_names(tests, list(chosen.values()), merge=True)[0])
    texts = {chosen.get(name, name): text for name, text in called.values()} | dict(called.values())
    notes = [*united, parts.about if test is None else None, *_not_read(parts.train)]
    return Source(folder, rename(train, chosen), texts, tests, tuple(note for note in notes if note))


def read_images(folder: Path, *, names: str = "") -> dict[str, list[Path]]:
    """Read a folder of class folders to measure on, or the test part of a folder that has one.

    Args:
        folder: The folder.
        names: Names of the classes, as ``read_source`` takes them.

    Returns:
        Image files by class name.

    Raises:
        InputError: If there is no class folder, one has no image, a name is given twice, or the table of names is wrong.
    """
    measured = _measured_folder(folder)
    classes = read_classes(measured)
    _check_full(classes, measured)
    named = _named(classes, read_naming(folder, names), measured)
    check_distinguishable(list(named))
    return named


def _measured_folder(folder: Path) -> Path:
    parts = find_parts(folder)
    return parts.test or parts.train or folder


def _check_full(classes: Mapping[str, Sequence[Path]], folder: Path) -> None:
    if empty := [name for name, files in classes.items() if not files]:
        raise InputError(f"The class {empty[0]!r} has no image in {folder}: {why_empty(folder, empty[0])}.")


def readable(images: Mapping[str, Sequence[Path]]) -> tuple[dict[str, list[Path]], list[SkippedImage]]:
    """Find the readable image files by decoding all of them.

    Args:
        images: Image files by class.

    Returns:
        The readable files by class, and the others with the reason.

    Raises:
        InputError: If no image of a class is readable.
    """
    files = [file for own in images.values() for file in own]
    reasons = {files[index]: reason for index, reason in find_unreadable_images(files).items()}
    left = {name: [file for file in own if file not in reasons] for name, own in images.items()}
    if empty := [name for name, own in images.items() if own and not left[name]]:
        raise InputError(f"No image of the class {empty[0]!r} can be read: replace at least one.")
    return left, [{"image": str(file), "reason": reason} for file, reason in reasons.items()]


def _not_read(folder: Path) -> list[str]:
    """Sentences on files in class folders that are not images by their extension, and on images outside of class folders."""
    files = [entry.name for name in subfolders(folder) for entry in walk(folder / name) if not is_image_name(entry.name)]
    kinds = Counter(Path(name).suffix.lower() or "no extension" for name in files).most_common(3)
    outside = [entry.name for entry in entries(folder) if is_file(entry) and is_image_name(entry.name)]
    notes = []
    if files:
        listed = ", ".join(f"{kind} {number}" for kind, number in kinds)
        plugin = missing_plugin({Path(name).suffix for name in files})
        notes.append(f"not read: {count(len(files), 'file')} of other formats ({listed})" + (f": run {plugin}" if plugin else ""))
    if outside:
        notes.append(f"not learned: {count(len(outside), 'image')} outside the class folders, such as {folder / outside[0]}")
    return notes


def _named(classes: Mapping[str, list[Path]], called: Naming, where: Path, *, merge: bool = False) -> dict[str, list[Path]]:
    named: dict[str, list[Path]] = {}
    for class_folder, files in classes.items():
        name = called.get(canonical(class_folder), (tidy(class_folder), class_folder))[0]
        if name in named and not merge:
            raise AlikeNames(
                f"Two class folders of {where} have the name {name!r}: give each class its own name, or learn them as one class "
                "with --merge-names."
            )
        named[name] = [*named.get(name, []), *files]
    return named
