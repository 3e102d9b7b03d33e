"""The images of the learned classes that were held out of training: stored by place and fingerprint, never copied."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mgclip.images import find_unreadable_images
from mgclip.method.learner import MGCLIP
from mgclip.names import canonical
from mgclip.saving.store import HELD_OUT, is_saved, read_manifest
from mgclip.stream.duplicates import find_duplicates
from mgclip.stream.folder import image_files
from mgclip.system_errors import is_system_error
from mgclip.untrusted import read_json

MAX_IMAGES = 2000
"""Limit of held-out images of earlier classes to measure on; each class gets an equal share."""


@dataclass(frozen=True)
class HeldOutImage:
    """An image that was held out.

    Attributes:
        folder: The folder that was learned.
        name: Its path below that folder.
        fingerprint: Size and digest of its content; ``""`` if an older version stored it.
    """

    folder: Path
    name: str
    fingerprint: str = ""

    @property
    def path(self) -> Path:
        """Where it was, or was found last."""
        return self.folder / self.name

    @property
    def size(self) -> int | None:
        """Its size in bytes; None if an older version stored it."""
        digits = self.fingerprint.partition("-")[0]
        return int(digits, 16) if digits else None


HeldOut = dict[str, list[HeldOutImage]]
"""Held-out images by class."""


def read_held_out(folder: Path, *places: Path) -> HeldOut:
    """The held-out images that the active version lists, whether they still exist or not; empty if it has no list.

    Images that are not where they were are looked for at the same place relative to the model, and in ``places``: at the same
    path below them, then by fingerprint.
    """
    if not is_saved(folder):
        return {}
    state = read_manifest(folder)[1]
    try:
        listed = _parsed(read_json(state / HELD_OUT), folder.absolute())
    except (OSError, ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
        if is_system_error(error):  # the next version would lose the list
            raise
        return {}  # saved by a program, or measured on a given folder: there is no list
    for place in places:
        listed = _found_in(listed, place.absolute())
    return listed


def _parsed(content: Any, model: Path) -> HeldOut:
    if not isinstance(content.get("images"), Mapping):  # until version 0.1: absolute paths by class
        return {str(name): [_at(Path(str(file))) for file in files] for name, files in content.items()}
    folders = [_existing_folder(Path(str(stored)), model / str(relative)) for stored, relative in content["folders"]]
    return {
        str(name): [_image(folders[place], str(file), str(fingerprint)) for place, file, fingerprint in images]
        for name, images in content["images"].items()
    }


def _image(folder: Path, name: str, fingerprint: str) -> HeldOutImage:
    """An image of the list. Raises ``ValueError`` if it has no such fingerprint."""
    if not re.fullmatch("([0-9a-f]+-[0-9a-f]+)?", fingerprint):
        raise ValueError(fingerprint)
    return HeldOutImage(folder, name, fingerprint)


def _existing_folder(stored: Path, relative: Path) -> Path:
    """The folder where it was, or at the same place relative to the model if both have moved."""
    return stored if stored.is_dir() or not relative.is_dir() else Path(os.path.normpath(relative))


def _at(file: Path) -> HeldOutImage:
    return HeldOutImage(file.parent, file.name)


def _found_in(listed: HeldOut, photos: Path) -> HeldOut:
    """The images, those that are missing replaced by what is found in ``photos``."""
    by_size: dict[int | None, list[Path]] | None = None

    def found(image: HeldOutImage) -> HeldOutImage:
        nonlocal by_size
        if has_its_size(image):
            return image
        for moved in _same_place(image, photos):
            if is_there(moved):
                return moved
        if by_size is None:
            by_size = {}
            for file in filter(Path.is_file, image_files(photos)):
                by_size.setdefault(file.stat().st_size, []).append(file)
        for file in by_size.get(image.size, []):
            if fingerprint(file) == image.fingerprint:
                return HeldOutImage(photos, file.relative_to(photos).as_posix(), image.fingerprint)
        return image

    return {name: [found(image) for image in images] for name, images in listed.items()}


def _same_place(image: HeldOutImage, photos: Path) -> Iterator[HeldOutImage]:
    """The places below ``photos`` where the image may be: its path below the folder that was learned, then longer and longer ends
    of its complete path.
    """
    yield replace(image, folder=photos)
    parts = image.path.parts
    for length in range(1, len(parts)):
        yield replace(image, folder=photos, name="/".join(parts[-length:]))


def has_its_size(image: HeldOutImage) -> bool:
    """Whether a file of its size is where the image was; the file is not read."""
    return image.path.is_file() and image.size in (None, image.path.stat().st_size)


def is_there(image: HeldOutImage) -> bool:
    """Whether the image is where it was: not another file that has taken its place."""
    return has_its_size(image) and (not image.fingerprint or fingerprint(image.path) == image.fingerprint)


def copies_of(listed: HeldOut, files: Sequence[Path]) -> dict[Path, Path]:
    """Those of the files that have the content of a held-out image, each with the path of that image."""
    images = {image.path: image for own in listed.values() for image in own}
    return {file: path for file, path in find_duplicates(list(images), files) if is_there(images[path])}


def fingerprint(file: Path) -> str:
    """Size and digest of the content of a file; ``""`` if it cannot be read."""
    try:
        content = file.read_bytes()
    except OSError:
        return ""
    return f"{len(content):x}-{hashlib.blake2b(content, digest_size=8).hexdigest()}"


def held_out(tests: Mapping[str, Sequence[Path]], folder: Path) -> HeldOut:
    """The images of ``folder`` that are held out now. One that is elsewhere is stored by its own folder."""
    top = folder.absolute()

    def image(file: Path) -> HeldOutImage:
        file = file.absolute()
        if not file.is_relative_to(top):
            return replace(_at(file), fingerprint=fingerprint(file))
        return HeldOutImage(top, file.relative_to(top).as_posix(), fingerprint(file))

    return {name: [image(file) for file in files] for name, files in tests.items()}


def paths(images: Mapping[str, Sequence[HeldOutImage]]) -> dict[str, list[Path]]:
    """The paths of held-out images, by class."""
    return {name: [image.path for image in own] for name, own in images.items()}


def measurable(listed: HeldOut, classes: Sequence[str]) -> tuple[dict[str, list[Path]], int]:
    """The held-out images that still exist.

    Args:
        listed: The held-out images.
        classes: Names of the classes.

    Returns:
        At most ``MAX_IMAGES`` images by class, and the number of listed images that no longer exist. Only images to measure on
        are read.
    """
    own = of_classes(listed, classes)
    existing = {name: [image for image in images if has_its_size(image)] for name, images in own.items()}
    gone = sum(map(len, own.values())) - sum(map(len, existing.values()))
    measured = {name: images[: most_measured(existing)] for name, images in existing.items()}
    chosen = {name: [image for image in images if is_there(image)] for name, images in measured.items()}
    gone += sum(map(len, measured.values())) - sum(map(len, chosen.values()))
    return paths({name: images for name, images in chosen.items() if images}), gone


def of_classes(listed: HeldOut, classes: Sequence[str]) -> HeldOut:
    """The held-out images of these classes, under their names."""
    called = {canonical(name): name for name in classes}
    return {called[canonical(name)]: images for name, images in listed.items() if canonical(name) in called}


def most_measured(classes: Mapping[str, object]) -> int:
    """The largest number of held-out images of each of these classes to measure on."""
    return max(1, MAX_IMAGES // max(1, len(classes)))


def joined(classes: Sequence[str], *lists: Mapping[str, Sequence[HeldOutImage]]) -> HeldOut:
    """Several lists of held-out images as one, of these classes only and under their names. Each image is in it once: one of its
    copies that still exists, if there is one.
    """
    called = {canonical(name): name for name in classes}
    images: dict[str, dict[Path, HeldOutImage]] = {}
    for listed in lists:
        for name, own in listed.items():
            if (known := called.get(canonical(name))) is not None:
                images.setdefault(known, {}).update({image.path: image for image in own})
    ranked = {name: sorted(own.values(), key=has_its_size) for name, own in images.items()}  # those that exist replace others
    return {name: list({image.fingerprint or image.path: image for image in own}.values()) for name, own in ranked.items()}


def not_learned(model: MGCLIP, listed: Mapping[str, Sequence[HeldOutImage]]) -> HeldOut:
    """The held-out images that the model has not learned in the meantime, and those that are missing now."""
    there = [image for own in listed.values() for image in own if image.path.is_file()]
    if not there:
        return {name: list(own) for name, own in listed.items()}
    unreadable = find_unreadable_images([image.path for image in there])
    readable = [image for place, image in enumerate(there) if place not in unreadable]
    learned = model.learned_as([image.path for image in readable])
    left_out = {there[place].path for place in unreadable}
    left_out |= {image.path for image, classes in zip(readable, learned, strict=True) if classes}
    return {name: [image for image in own if image.path not in left_out] for name, own in listed.items()}


def as_json(images: Mapping[str, Sequence[HeldOutImage]], model: Path) -> dict[str, Any]:
    """The content of the file: each folder by its absolute path and by its path from the model, and the images by folder."""
    folders = list(dict.fromkeys(image.folder for own in images.values() for image in own))
    number = {folder: place for place, folder in enumerate(folders)}
    return {
        "folders": [[str(folder), _from_model(folder, model)] for folder in folders],
        "images": {name: [[number[i.folder], i.name, i.fingerprint] for i in own] for name, own in images.items()},
    }


def _from_model(folder: Path, model: Path) -> str:
    try:
        return Path(os.path.relpath(folder, model.absolute())).as_posix()
    except ValueError:  # another drive on Windows
        return str(folder)
