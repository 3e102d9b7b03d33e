"""What is in a folder, without what other programs leave there: hidden files, thumbnails, recycle bins, bookkeeping."""

from __future__ import annotations

import os
from pathlib import Path

from mgclip.errors import InputError
from mgclip.images import file_extensions

LITTER = frozenset(
    (
        "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin", "recycler", "__macosx",
        "__pycache__", "lost+found", "lost.dir", "system volume information", "@tmp", "network trash folder", "temporary items",
    )
)  # fmt: skip
"""Folders that storage devices, archives and operating systems make, in small letters: their images are copies or deleted."""


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """The files and folders in a folder, sorted by name, without hidden ones and litter.

    Args:
        folder: The folder to list.

    Returns:
        Its entries.

    Raises:
        InputError: If the folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            kept = [entry for entry in found if entry.name[0] != "." and entry.name.casefold() not in LITTER]
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be read ({error.strerror}): allow reading it, or move it away."
        ) from None
    return sorted(kept, key=lambda entry: entry.name)


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its ending, one of those that are read, and not hidden."""
    stem, _, ending = name.rpartition(".")
    return stem != "" and stem[0] != "." and f".{ending}".lower() in file_extensions()


def is_broken(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link that leads nowhere."""
    return entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110  (an entry is no Path)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one."""
    return not is_broken(entry) and entry.is_dir()


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file or a link, even a broken one: opening that names it, so that it is not lost in silence."""
    return is_broken(entry) or entry.is_file()


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted; links to folders count.

    Args:
        folder: The folder to list.

    Returns:
        Their names.

    Raises:
        InputError: If the folder cannot be read, or holds a link to something that is not there.
    """
    found = entries(folder)
    for entry in found:
        _check_link(entry)
    return [entry.name for entry in found if is_folder(entry)]


def walk(folder: Path) -> list[os.DirEntry[str]]:
    """All files below a folder at any depth, in the order of their paths. Links to folders are followed, each folder is read
    once, and a link back to the folder itself or to one above it is not followed, so that links in a circle end.

    Args:
        folder: The folder to list.

    Returns:
        The files, broken links with the name of an image among them.

    Raises:
        InputError: If a folder cannot be read, or a link leads nowhere that may have been a folder.
    """
    top = Path(os.path.realpath(folder))
    return _walk(folder, top, {top, *top.parents})


def _walk(folder: Path, real: Path, seen: set[Path]) -> list[os.DirEntry[str]]:
    found: list[os.DirEntry[str]] = []
    for entry in entries(folder):
        _check_link(entry)
        if not is_folder(entry):
            found += [entry] if is_file(entry) else []
            continue
        below = Path(os.path.realpath(entry.path)) if entry.is_symlink() else real / entry.name
        if below not in seen:
            seen.add(below)
            found += _walk(folder / entry.name, below, seen)
    return found


def _check_link(entry: os.DirEntry[str]) -> None:
    """Refuse a broken link that may have been a folder. One called like an image is kept as an image that is not there."""
    if is_broken(entry) and not is_image_name(entry.name):
        raise InputError(f"{entry.path} links to something that is not there: repair or remove the link.")
