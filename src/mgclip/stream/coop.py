"""Data sets with a split of CoOp: ``split_zhou_NAME.json`` lists the images of each part with their classes.

X-TAIL uses these splits. Their part ``val`` is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mgclip.errors import InputError, first_line
from mgclip.stream.layout import FoundDataset
from mgclip.stream.lists import found_in_lists
from mgclip.untrusted import read_json


def find_coop(path: Path, test_only: bool) -> FoundDataset | None:
    """A folder with ``split_zhou_NAME.json`` and the images: in this folder, or in one in it, such as ``images/``.

    Raises:
        InputError: If there are several split files, or the file is not one.
    """
    files = sorted(path.glob("split_zhou_*.json")) if path.is_dir() else []
    if not files:
        return None
    if len(files) > 1:
        raise InputError(f"{path} must contain one split file; found {files[0].name} and {files[1].name}: move one of them away.")
    try:
        split = read_json(files[0])
        parts = {part: [_line(each) for each in split[part]] for part in ("train", "test")}
        names = _names(parts.values())
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{files[0]} is not a split file of CoOp ({first_line(error)}): download it again.") from None
    folders = [path, *sorted(each for each in path.iterdir() if each.is_dir())]
    listed_images = (image for lines in parts.values() for _, image, _ in lines)  # some may be missing
    images = next((folder for image in listed_images for folder in folders if (folder / image).is_file()), path)
    listed = {part: [(label, image) for label, image, _ in lines] for part, lines in parts.items()}
    return found_in_lists("coop", names, images, listed, test_only, None, images="")


def _names(parts: Iterable[list[tuple[int, str, str]]]) -> list[str]:
    """The name of each class, in the order of the labels. Raises ``ValueError`` if a class has two names, or a label has none."""
    classes: dict[int, str] = {}
    for label, image, name in (line for lines in parts for line in lines):
        if classes.setdefault(label, name) != name:
            raise ValueError(f"class {label} is {classes[label]!r} and, for {image}, {name!r}")
    return [classes[label] for label in range(len(classes))]


def _line(listed: Any) -> tuple[int, str, str]:
    image, label, name = listed
    return int(label), str(image), str(name)
