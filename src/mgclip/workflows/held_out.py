"""The images of the learned classes that were held out of training: stored by path, never copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mgclip.names import canonical
from mgclip.saving.store import HELD_OUT, is_saved, read_manifest
from mgclip.untrusted import read_json

MAX_IMAGES = 2000
"""Limit of held-out images of earlier classes to measure on; each class gets an equal share."""


def read_held_out(folder: Path) -> dict[str, list[Path]]:
    """Held-out images by class that the active version lists, whether they still exist or not; empty if it has no list."""
    if not is_saved(folder):
        return {}
    file = read_manifest(folder)[1] / HELD_OUT
    try:
        found = read_json(file)
        return {str(name): [Path(str(file)) for file in files] for name, files in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # saved by a program, or measured on a given folder: there is no list


def held_out_images(folder: Path, classes: Sequence[str]) -> tuple[dict[str, list[Path]], int]:
    """The held-out images that still exist.

    Args:
        folder: Folder of the model.
        classes: Names of the classes.

    Returns:
        At most ``MAX_IMAGES`` images by class, and the number of listed images that no longer exist.
    """
    called = {canonical(name): name for name in classes}
    listed = {called[canonical(n)]: files for n, files in read_held_out(folder).items() if canonical(n) in called}
    existing = {name: [file for file in files if file.is_file()] for name, files in listed.items()}
    gone = sum(map(len, listed.values())) - sum(map(len, existing.values()))
    share = max(1, MAX_IMAGES // max(1, len(existing)))
    return {name: files[:share] for name, files in existing.items() if files}, gone


def joined(classes: Sequence[str], *lists: Mapping[str, Sequence[Path]]) -> dict[str, list[Path]]:
    """Several lists of held-out images as one, of these classes only and under their names; each image once."""
    called = {canonical(name): name for name in classes}
    images: dict[str, dict[Path, None]] = {}
    for listed in lists:
        for name, files in listed.items():
            if (own := called.get(canonical(name))) is not None:
                images.setdefault(own, {}).update(dict.fromkeys(file.absolute() for file in files))
    return {name: list(files) for name, files in images.items()}


def as_json(images: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    """The content of the file: absolute paths, which are valid in every working directory."""
    return {name: [str(file.absolute()) for file in files] for name, files in images.items()}
