"""Which images of the classes learned so far were held out of training: remembered by path, never copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mgclip.names import same
from mgclip.saving.store import HELD_OUT, is_saved, read_manifest
from mgclip.untrusted import read_json

MOST = 2000
"""Held-out images of earlier classes that are measured on; of more, an equal share of each class."""


def read_held_out(folder: Path) -> dict[str, list[Path]]:
    """Held-out images by class, as the version in force remembers them, there or not; empty where none is remembered."""
    if not is_saved(folder):
        return {}
    file = read_manifest(folder)[1] / HELD_OUT
    try:
        found = read_json(file)
        return {str(name): [Path(str(place)) for place in places] for name, places in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # a model saved by a program, or measured on a given folder: nothing to go by


def held_out_images(folder: Path, classes: Sequence[str]) -> tuple[dict[str, list[Path]], int]:
    """Held-out images of these classes that are still where they were, at most ``MOST``, and how many are gone."""
    called = {same(name): name for name in classes}
    remembered = {called[same(n)]: places for n, places in read_held_out(folder).items() if same(n) in called}
    there = {name: [place for place in places if place.is_file()] for name, places in remembered.items()}
    gone = sum(map(len, remembered.values())) - sum(map(len, there.values()))
    share = max(1, MOST // max(1, len(there)))
    return {name: places[:share] for name, places in there.items() if places}, gone


def as_json(images: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    """The same to be written: absolute paths, so that they hold from anywhere."""
    return {name: [str(file.absolute()) for file in files] for name, files in images.items()}
