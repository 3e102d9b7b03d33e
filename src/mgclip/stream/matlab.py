"""Data sets whose parts are listed in MATLAB files: Stanford Cars, Flowers-102.

Each function looks at a path and returns the data set found there, or None if there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mgclip.errors import InputError, first_line
from mgclip.stream import metadata
from mgclip.stream.layout import FoundDataset, find_root
from mgclip.stream.lists import found_in_lists

CARS_LISTS = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
FLOWERS = "mtil_classes.tsv#flowers102"
FLOWER_PARTS = {"train": "trnid", "test": "tstid"}
"""The names of both parts in ``setid.mat``; the official split has a part ``valid`` as well."""


def find_stanford_cars(path: Path, test_only: bool) -> FoundDataset | None:
    """Stanford Cars, all 196 classes: ``cars_train/*.jpg`` and ``cars_test/*.jpg``, with the labels in ``devkit/*.mat``."""
    return find_cars("stanford-cars", None, path, test_only)


def find_cars(name: str, classes: Sequence[str] | None, path: Path, test_only: bool) -> FoundDataset | None:
    """Stanford Cars or some of its ``classes``, with its own split. Takes the name of the data set first.

    The labels of the test images are a file of their own, which can lie in ``devkit/`` or next to it.

    Raises:
        InputError: If a file of the devkit cannot be read, or lacks a class.
    """
    usual = ("stanford_cars", "stanford-cars", "cars")
    root = find_root(path, usual, lambda p: (p / "devkit" / "cars_meta.mat").is_file())
    if root is None:
        return None
    meta = root / "devkit" / "cars_meta.mat"
    official = [str(each) for each in _matlab(meta, "class_names")]
    names = tuple(official) if classes is None else tuple(classes)
    folded = {metadata.fold(each): label for label, each in enumerate(names)}
    labels = {number: folded.get(metadata.fold(each)) for number, each in enumerate(official, 1)}
    if set(labels.values()) - {None} != set(range(len(names))):
        raise InputError(f"{meta} must name the classes of Stanford Cars; found {len(official)} others: download it again.")
    parts: dict[str, list[tuple[int, str]]] = {}
    for part, file in CARS_LISTS.items():
        place = next((each for each in (root / file, root / "devkit" / file) if each.is_file()), None)
        if place is None:
            raise InputError(f"{root} lacks {file}, the labels of cars_{part}/: download it and put it into devkit/.")
        rows = _matlab(place, "annotations")
        if "class" not in (rows.dtype.names or ()):
            raise InputError(f"{place} has no classes of the images: download {file}, which has them.")
        found = [
            (labels.get(int(number)), f"cars_{part}/{image}") for image, number in zip(rows["fname"], rows["class"], strict=True)
        ]
        parts[part] = [(label, image) for label, image in found if label is not None]
    return found_in_lists(name, names, root, parts, test_only, None, images="")


def find_flowers102(path: Path, test_only: bool) -> FoundDataset | None:
    """Flowers-102: ``jpg/image_00001.jpg``, with ``imagelabels.mat``, and the training and test part of ``setid.mat``."""
    usual = ("flowers-102", "flowers102", "oxford_flowers")
    root = find_root(path, usual, lambda p: all((p / file).is_file() for file in ("imagelabels.mat", "setid.mat")))
    if root is None:
        return None
    names, labels = metadata.class_names(FLOWERS), _matlab(root / "imagelabels.mat", "labels")
    parts = {part: _matlab(root / "setid.mat", key) for part, key in FLOWER_PARTS.items()}
    if not all(1 <= label <= len(names) for label in labels) or any(numbers.max() > len(labels) for numbers in parts.values()):
        raise InputError(f"imagelabels.mat and setid.mat in {root} do not belong together: download both again.")
    lines = {part: [(int(labels[n - 1]) - 1, f"image_{n:05}.jpg") for n in numbers] for part, numbers in parts.items()}
    return found_in_lists("flowers102", names, root, lines, test_only, None, images="jpg")


def _matlab(file: Path, variable: str) -> Any:
    """A variable of a MATLAB file: an array of one dimension. Raises ``InputError`` if it cannot be read."""
    from scipy.io import loadmat

    try:
        return loadmat(file, squeeze_me=True)[variable].reshape(-1)
    except Exception as error:  # a damaged file raises errors of many kinds
        raise InputError(f"{file} cannot be read ({first_line(error)}): download it again.") from None
