"""List folders without the files of other programs: hidden files, thumbnails, recycle bins, system folders."""

from __future__ import annotations

import os
from pathlib import Path

from mgclip.errors import InputError
from mgclip.image_formats import file_extensions
from mgclip.missing import not_found

SYSTEM_FOLDERS = frozenset(
    (
        "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin", "recycler", "__macosx",
        "__pycache__", "lost+found", "lost.dir", "system volume information", "@tmp", "network trash folder", "temporary items",
    )
)  # fmt: skip
"""Folders made by storage devices, archives and operating systems, in lower case. Their images are copies or deleted."""


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """The visible entries of a folder, sorted by name, without system folders. Raises ``InputError`` if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            kept = [entry for entry in found if entry.name[0] != "." and entry.name.casefold() not in SYSTEM_FOLDERS]
    except FileNotFoundError:
        raise not_found("folder", folder) from None
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read ({error.strerror}): make it readable, or move it away.") from None
    return sorted(kept, key=lambda entry: entry.name)


def is_image_name(name: str) -> bool:
    """Whether a file is an image, by a supported extension, and not hidden."""
    stem, _, extension = name.rpartition(".")
    return stem != "" and stem[0] != "." and f".{extension}".lower() in file_extensions()


def is_broken(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a broken link."""
    return entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110  (an entry is not a Path)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one."""
    return not is_broken(entry) and entry.is_dir()


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file or a broken link: opening a broken link raises an error, so that it is not ignored silently."""
    return is_broken(entry) or entry.is_file()


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, including links to folders. Raises ``InputError`` if the folder cannot be
    read, or contains a broken link.
    """
    found = entries(folder)
    for entry in found:
        _check_link(entry)
    return [entry.name for entry in found if is_folder(entry)]


def walk(folder: Path) -> list[os.DirEntry[str]]:
    """All files below a folder at any depth, in the order of their paths, including broken links with the name of an image.

    Links to folders are followed, but not to the folder itself or to one above it. Each folder is read once, so that circular
    links end. Raises ``InputError`` if a folder cannot be read, or a link is broken that may have been a folder.
    """
    top = Path(os.path.realpath(folder))
    seen = {top, *top.parents}
    found: list[os.DirEntry[str]] = []
    left = [(each, top) for each in reversed(entries(folder))]  # no recursion: folders may be deeper than Python's stack
    while left:
        entry, above = left.pop()
        _check_link(entry)
        if not is_folder(entry):
            found += [entry] if is_file(entry) else []
            continue
        below = Path(os.path.realpath(entry.path)) if entry.is_symlink() else above / entry.name
        if below not in seen:
            seen.add(below)
            left += [(each, below) for each in reversed(entries(Path(entry.path)))]
    return found


def _check_link(entry: os.DirEntry[str]) -> None:
    """Reject a broken link that may have been a folder. One with the name of an image counts as a missing image."""
    if is_broken(entry) and not is_image_name(entry.name):
        raise InputError(f"{entry.path} is a broken link: repair or remove it.")
