"""Data sets whose parts are lists of files: CUB-200, Food-101, Oxford Pets, FGVC-Aircraft.

Each function looks at a path and returns the data set found there, or None if there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mgclip.errors import InputError, first_line
from mgclip.stream import metadata
from mgclip.stream.data import Dataset, Split
from mgclip.stream.files import folders_in, listed_files
from mgclip.stream.layout import EMPTY_SPLIT, FoundDataset, find_root

AIRCRAFT = "setting_b_classes.tsv#aircraft-100"
CUB_LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")

Lines = Iterable[tuple[int, str]]
"""Label and file name below ``images/``, as ``listed_files`` takes them."""
Named = tuple[str, str]
"""File name and class of an image in a list."""


def find_cub200(path: Path, test_only: bool) -> FoundDataset | None:
    """CUB-200-2011: ``CUB_200_2011/images/001.Black_footed_Albatross/*.jpg``, split by ``train_test_split.txt``. Raises
    ``InputError`` if the lists name different images or other classes.
    """
    own = ("CUB_200_2011", "cub200/CUB_200_2011")
    root = find_root(path, own, lambda p: all((p / file).is_file() for file in CUB_LISTS))
    if root is None:
        return None
    names = metadata.class_names("cub200_classes.tsv")
    images, labels, split, classes = (_numbered(root / file) for file in CUB_LISTS)
    for number, name in enumerate(names, 1):
        if classes.get(number, "").partition(".")[2] != name:
            raise InputError(
                f"{root / 'classes.txt'} must name class {number} {number:03}.{name}; "
                f"found {classes.get(number, 'nothing')}: download it again."
            )
    if images.keys() != labels.keys() or images.keys() != split.keys():
        raise InputError(f"The lists in {root} name different images: download the data again.")
    parts: dict[str, list[tuple[int, str]]] = {"train": [], "test": []}
    for number, file in images.items():
        if labels[number] not in map(str, range(1, len(names) + 1)) or split[number] not in ("0", "1"):
            raise InputError(f"The lists in {root} give image {number} no class or no part: download the data again.")
        parts["train" if split[number] == "1" else "test"].append((int(labels[number]) - 1, file))
    return found_in_lists("cub200", names, root, parts, test_only, set(classes.values()))


def find_food101(path: Path, test_only: bool) -> FoundDataset | None:
    """Food-101: ``food-101/images/apple_pie/*.jpg``, split by ``meta/train.txt`` and ``meta/test.txt``."""
    names = metadata.class_names("food101_classes.tsv")
    lists = {part: f"meta/{part}.txt" for part in ("train", "test")}
    root = find_root(path, ("food-101", "food101"), lambda p: _has_lists(p, lists))
    if root is None:
        return None
    parts = {part: labelled(root / list_, names, _class_and_image("/")) for part, list_ in lists.items()}
    return found_in_lists("food101", names, root, parts, test_only, names)


def find_oxford_pets(path: Path, test_only: bool) -> FoundDataset | None:
    """Oxford-IIIT Pets: ``images/Abyssinian_1.jpg``, split by ``annotations/trainval.txt`` and ``annotations/test.txt``."""
    names = metadata.class_names("oxford_pet_classes.tsv")
    lists = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}
    own = ("oxford-iiit-pet", "oxford-pets", "oxford_pets")
    root = find_root(path, own, lambda p: _has_lists(p, lists))
    if root is None:
        return None
    parts = {part: labelled(root / list_, names, _class_and_image("_")) for part, list_ in lists.items()}
    return found_in_lists("oxford-pets", names, root, parts, test_only, None)


def find_aircraft(path: Path, test_only: bool, *, name: str = "aircraft", train: str = "trainval") -> FoundDataset | None:
    """FGVC-Aircraft: ``data/images/*.jpg``, split by ``data/images_variant_trainval.txt`` and ``images_variant_test.txt``, or by
    the list of another part than ``trainval``. ``name``: the name of the data set.
    """
    names = metadata.class_names(AIRCRAFT)
    lists = {"train": f"images_variant_{train}.txt", "test": "images_variant_test.txt"}
    root = find_root(path, ("data", "fgvc-aircraft-2013b/data"), lambda p: _has_lists(p, lists))
    if root is None:
        return None

    def parse(line: str) -> Named:
        image, _, variant = line.partition(" ")
        return f"{image}.jpg", variant

    parts = {part: labelled(root / file, names, parse) for part, file in lists.items()}
    return found_in_lists(name, names, root, parts, test_only, None)


def _has_lists(root: Path, lists: Mapping[str, str]) -> bool:
    return (root / "images").is_dir() and all((root / file).is_file() for file in lists.values())


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip() and line[0] != "#"]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({first_line(error)}): download it again.") from None


def _numbered(file: Path) -> dict[int, str]:
    """Read lines ``NUMBER REST`` into a mapping from number to rest."""
    numbered: dict[int, str] = {}
    for line in _lines(file):
        number, _, rest = line.partition(" ")
        if number.isdecimal() and int(number) in numbered:
            raise InputError(f"{file} must contain each number once; found {number} again: download it again.")
        if not number.isdecimal() or not rest.strip():
            raise InputError(f"{file} must contain a number and a word on each line; found {line[:60]!r}: download it again.")
        numbered[int(number)] = rest.strip()
    return numbered


def _class_and_image(separator: str) -> Callable[[str], Named]:
    """Reads lines ``CLASS separator IMAGE ...``, of images in JPEG."""

    def parse(line: str) -> Named:
        image = line.split()[0]
        return f"{image}.jpg", image.rpartition(separator)[0]

    return parse


def labelled(file: Path, keys: Sequence[str], parse: Callable[[str], Named]) -> list[tuple[int, str]]:
    """Read a list of images into labels and file names.

    Args:
        file: The list.
        keys: What the list calls the classes; case, spaces, underscores, hyphens and slashes do not count.
        parse: Finds the file name and the class in a line.

    Raises:
        InputError: If an image is named twice, or its class is not in ``keys``.
    """
    labels = {metadata.fold(key): label for label, key in enumerate(keys)}
    found: dict[str, int] = {}
    for line in _lines(file):
        image, name = parse(line)
        if image in found:
            raise InputError(f"{file} must name each image once; found {image!r} again: download it again.")
        label = labels.get(metadata.fold(name))
        if label is None:
            raise InputError(f"{file} must name images of the data set's classes; found {image!r}: download it again.")
        found[image] = label
    return [(label, image) for image, label in found.items()]


def found_in_lists(
    name: str,
    names: Sequence[str],
    root: Path,
    parts: Mapping[str, Lines],
    test_only: bool,
    folders: Iterable[str] | None,
    images: str = "images",
) -> FoundDataset:
    """The listed files that exist below the folder ``images``; ``folders``: the class folders there, if they are known."""
    splits: dict[str, Split] = {"train": EMPTY_SPLIT}
    absent: list[str] = []
    for part, lines in parts.items():
        if part == "train" and test_only:
            continue
        files, missing = listed_files(root / images, len(names), lines)
        splits[part] = files.split()
        absent += missing
    expected = None if folders is None else set(folders)
    extra = [] if expected is None else [f for f in folders_in(root / images) if f not in expected]
    dataset = Dataset(name, tuple(names), splits["train"], splits["test"])
    return FoundDataset(dataset, str(root), tuple(f"{images}/{folder}" for folder in extra), tuple(absent))
