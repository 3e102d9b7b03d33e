"""Data sets with one folder of images for each class: ImageNet-1K, ImageNet-100, ImageNet-R, Caltech-101, VTAB.

Each function looks at a path and returns the data set found there, or None if there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mgclip.errors import InputError
from mgclip.stream import metadata
from mgclip.stream.data import Dataset, Split
from mgclip.stream.files import ClassFiles, folders_in, images_in
from mgclip.stream.layout import EMPTY_SPLIT, FoundDataset, find_root
from mgclip.words import count

IMAGENET = "imagenet1k_classes.tsv"
IMAGENET_R = "imagenet_r_classes.tsv"
CALTECH_101 = ("101_ObjectCategories", "caltech-101/101_ObjectCategories", "caltech101/101_ObjectCategories")
"""Usual names of its folder: the archive is ``caltech-101.zip``, with another archive in it."""
NO_CLASS = ("BACKGROUND_Google",)
"""Caltech-101's folder of images of no class."""


def find_imagenet1k(path: Path, test_only: bool) -> FoundDataset | None:
    """ImageNet-1K: ``train/nXXXXXXXX/*.JPEG`` and ``val/nXXXXXXXX/*.JPEG``, which is the test part."""
    usual = ("imagenet", "imagenet1k", "imagenet-1k", "ILSVRC2012")
    return _find_imagenet("imagenet1k", path, usual, 1000, test_only)


def find_imagenet100(path: Path, test_only: bool) -> FoundDataset | None:
    """ImageNet-100: the first 100 synsets of ImageNet-1K, in its layout; the other 900 folders are ignored."""
    usual = ("imagenet100", "imagenet-100", "imagenet", "imagenet1k", "imagenet-1k", "ILSVRC2012")
    return _find_imagenet("imagenet100", path, usual, 100, test_only)


def _find_imagenet(name: str, path: Path, usual: Sequence[str], classes: int, test_only: bool) -> FoundDataset | None:
    root = find_root(path, usual, lambda p: (p / "train").is_dir() or (p / "val").is_dir())
    if root is None:
        return None
    if not folders_in(root / "val") and images_in(root / "val"):
        raise InputError(
            f"{root / 'val'} contains images and no class folder: sort them into nXXXXXXXX/, as ImageNet's development kit "
            "describes."
        )
    synsets, names = metadata.column(IMAGENET, "wnid"), metadata.class_names(IMAGENET)[:classes]
    return _found(name, names, synsets[:classes], root, train=None if test_only else "train", test="val", known=synsets)


def find_imagenet_r(path: Path, test_only: bool) -> FoundDataset | None:
    """ImageNet-R: ``nXXXXXXXX/*.jpg``, split by the published list of 6,000 test images; or already split into
    ``train/nXXXXXXXX/*.jpg`` and ``test/nXXXXXXXX/*.jpg`` (or ``val/``).
    """
    synsets, listed = metadata.column(IMAGENET_R, "wnid"), metadata.imagenet_r_test_files()
    usual = ("imagenet-r", "imagenet_r")
    root = find_root(path, usual, lambda p: not set(synsets).isdisjoint(folders_in(p)))
    if root is None:
        split = find_root(path, usual, lambda p: not set(synsets).isdisjoint({*folders_in(p / "test"), *folders_in(p / "val")}))
        if split is None:
            return None
        own = "test" if folders_in(split / "test") else "val"
        part = None if test_only else "train"
        return _found("imagenet-r", metadata.class_names(IMAGENET_R), synsets, split, train=part, test=own)
    train: list[list[str]] = []
    test: list[list[str]] = []
    for synset in synsets:
        files = images_in(root / synset)
        train.append([] if test_only else [file for file in files if f"{synset}/{file}" not in listed])
        test.append([file for file in files if f"{synset}/{file}" in listed])
    existing = {f"{synset}/{file}" for synset, files in zip(synsets, test, strict=True) for file in files}
    dataset = Dataset(
        "imagenet-r",
        metadata.class_names(IMAGENET_R),
        EMPTY_SPLIT if test_only else ClassFiles(root, synsets, train).split(),
        ClassFiles(root, synsets, test).split(),
    )
    extra = tuple(folder for folder in folders_in(root) if folder not in synsets)
    return FoundDataset(dataset, str(root), extra, tuple(sorted(listed - existing)))


def find_caltech101(path: Path, test_only: bool) -> FoundDataset | None:
    """Caltech-101: ``101_ObjectCategories/accordion/*.jpg``. No split was published: all images are test images."""
    names = metadata.class_names("caltech101_classes.tsv")
    folded = {metadata.fold(name) for name in names}
    root = find_root(path, CALTECH_101, lambda p: any(metadata.fold(folder) in folded for folder in folders_in(p)))
    if root is None:
        return None
    return _found("caltech101", names, names, root, train=None, test="", known=NO_CLASS)


def find_vtab(path: Path, test_only: bool) -> FoundDataset | None:
    """VTAB, the stream of five data sets: ``train/0/`` to ``train/49/``, as in the published archive, or ``train/CLASS/``; and
    the same in ``test/``. Raises ``InputError`` if the folders named by number are not 50, or differ between the parts.
    """
    names = metadata.class_names("vtab_classes.tsv")
    root = find_root(path, ("vtab", "vtab-cil/vtab"), lambda p: (p / "test").is_dir())
    if root is None:
        return None
    parts = {part: _by_number(root / part, len(names)) for part in (("test",) if test_only else ("train", "test"))}
    train, test = parts.get("train"), parts["test"]
    if train and test and list(map(int, train)) != list(map(int, test)):
        raise InputError(
            f"{root / 'train'} and {root / 'test'} must have folders of the same numbers, each the number of a class: "
            "get the data again."
        )
    keys = {part: names if numbered is None else numbered for part, numbered in parts.items()}
    return _found("vtab", names, keys, root, train=None if test_only else "train", test="test")


def _by_number(part: Path, classes: int) -> tuple[str, ...] | None:
    """The class folders of a part in the order of their numbers; ``None`` if they have names."""
    folders = folders_in(part)
    numbered = sorted((folder for folder in folders if folder.isdecimal()), key=int)
    if not numbered:
        return None
    if len(numbered) != len(folders) or len({int(folder) for folder in numbered}) != classes:
        others = f" and {count(len(folders) - len(numbered), 'other')}" if len(numbered) != len(folders) else ""
        raise InputError(
            f"{part} must contain {classes} folders named by number, in the order of the classes, or folders named by class; "
            f"found {len(numbered)} named by number{others}: download the data again."
        )
    return tuple(numbered)


def _found(
    name: str,
    class_names: Sequence[str],
    keys: Sequence[str] | Mapping[str, Sequence[str]],
    root: Path,
    *,
    train: str | None,
    test: str,
    known: Sequence[str] = (),
) -> FoundDataset:
    """Find a data set of class folders.

    ``keys``: names of the class folders, or these by part; case, spaces, underscores and hyphens do not count. ``train`` and
    ``test``: folders of the parts below ``root``. ``known``: other folders that may exist.
    """
    splits: dict[str, Split] = {}
    extra: list[str] = []
    for part in (train, test):
        if part is not None:
            own = keys[part] if isinstance(keys, Mapping) else keys
            files, others = part_in_folders(root, part, own, known)
            splits[part], extra = files.split(), extra + others
    dataset = Dataset(name, tuple(class_names), EMPTY_SPLIT if train is None else splits[train], splits[test])
    return FoundDataset(dataset, str(root), tuple(sorted(extra)))


def part_in_folders(
    root: Path, part: str, keys: Sequence[str], known: Sequence[str] = (), below: str = ""
) -> tuple[ClassFiles, list[str]]:
    """The images of a part of a data set, and its folders that are not classes.

    Args:
        root: The folder of the data set.
        part: Folder of the part in it; it may be empty.
        keys: Names of the class folders; case, spaces, underscores, hyphens and slashes do not count.
        known: Other folders that may exist.
        below: The folder inside a class folder that has its images, if there is one.
    """
    folders: dict[str, str] = {}
    extra = []
    for folder in folders_in(root / part):
        key = metadata.fold(folder)
        if key in folders:  # a second folder of the same class is ignored
            extra.append(folder)
        else:
            folders[key] = folder
    chosen = [folders.pop(metadata.fold(key), key) for key in keys]
    if below:
        chosen = [f"{folder}/{below}" if (root / part / folder / below).is_dir() else folder for folder in chosen]
    allowed = {metadata.fold(key) for key in known}
    extra += [folder for key, folder in folders.items() if key not in allowed]
    files = ClassFiles(root / part, chosen, (images_in(root / part / folder) for folder in chosen))
    return files, [f"{part}/{folder}".lstrip("/") for folder in extra]
