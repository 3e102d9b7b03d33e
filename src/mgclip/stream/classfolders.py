"""Data sets with one folder of images for each class: ImageNet-1K, ImageNet-100, ImageNet-R, Caltech-101, VTAB.

Each function looks at a place and returns what it found there, or ``None`` where nothing of the kind is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mgclip.errors import InputError
from mgclip.stream import metadata
from mgclip.stream.data import Dataset
from mgclip.stream.files import ClassFiles, folders_in, images_in
from mgclip.stream.layout import EMPTY_SPLIT, FoundDataset, find_root

IMAGENET = "imagenet1k_classes.tsv"
IMAGENET_R = "imagenet_r_classes.tsv"
NO_CLASS = ("BACKGROUND_Google",)
"""Caltech-101's folder of images that show none of its classes."""


def find_imagenet1k(path: Path, test_only: bool) -> FoundDataset | None:
    """ImageNet-1K: ``train/nXXXXXXXX/*.JPEG`` and ``val/nXXXXXXXX/*.JPEG``, which is the test part."""
    own = ("imagenet", "imagenet1k", "imagenet-1k", "ILSVRC2012")
    return _find_imagenet("imagenet1k", path, own, 1000, test_only)


def find_imagenet100(path: Path, test_only: bool) -> FoundDataset | None:
    """ImageNet-100: the first 100 synsets of ImageNet-1K, in its layout; the folders of the other 900 may be there too."""
    own = ("imagenet100", "imagenet-100", "imagenet", "imagenet1k", "imagenet-1k", "ILSVRC2012")
    return _find_imagenet("imagenet100", path, own, 100, test_only)


def _find_imagenet(name: str, path: Path, own: Sequence[str], classes: int, test_only: bool) -> FoundDataset | None:
    place = find_root(path, own, lambda p: (p / "train").is_dir() or (p / "val").is_dir())
    if place is None:
        return None
    if not folders_in(place / "val") and images_in(place / "val"):
        raise InputError(
            f"{place / 'val'} holds images and no class folder: sort them into nXXXXXXXX/, as the development kit of "
            "ImageNet says."
        )
    synsets = metadata.column(IMAGENET, "wnid")
    return _found(
        name, metadata.class_names(IMAGENET)[:classes], synsets[:classes], place,
        train=None if test_only else "train", test="val", known=synsets,
    )  # fmt: skip


def find_imagenet_r(path: Path, test_only: bool) -> FoundDataset | None:
    """ImageNet-R: ``nXXXXXXXX/*.jpg``, of which the published list names the 6,000 test images and every other image is train; or
    already split into ``train/nXXXXXXXX/*.jpg`` and ``test/nXXXXXXXX/*.jpg``.
    """
    synsets, listed = metadata.column(IMAGENET_R, "wnid"), metadata.imagenet_r_test_files()
    own = ("imagenet-r", "imagenet_r")
    place = find_root(path, own, lambda p: not set(synsets).isdisjoint(folders_in(p)))
    if place is None:
        split = find_root(path, own, lambda p: not set(synsets).isdisjoint(folders_in(p / "test")))
        if split is None:
            return None
        part = None if test_only else "train"
        return _found("imagenet-r", metadata.class_names(IMAGENET_R), synsets, split, train=part, test="test")
    train: list[list[str]] = []
    test: list[list[str]] = []
    for synset in synsets:
        files = images_in(place / synset)
        train.append([] if test_only else [file for file in files if f"{synset}/{file}" not in listed])
        test.append([file for file in files if f"{synset}/{file}" in listed])
    there = {f"{synset}/{file}" for synset, files in zip(synsets, test, strict=True) for file in files}
    dataset = Dataset(
        "imagenet-r",
        metadata.class_names(IMAGENET_R),
        EMPTY_SPLIT if test_only else ClassFiles(place, synsets, train).split(),
        ClassFiles(place, synsets, test).split(),
    )
    extra = tuple(folder for folder in folders_in(place) if folder not in synsets)
    return FoundDataset(dataset, str(place), extra, tuple(sorted(listed - there)))


def find_caltech101(path: Path, test_only: bool) -> FoundDataset | None:
    """Caltech-101: ``101_ObjectCategories/accordion/*.jpg``. No split was published: all images are test."""
    names = metadata.class_names("caltech101_classes.tsv")
    folded = {metadata.fold(name) for name in names}
    nested = [f"{outer}/101_ObjectCategories" for outer in ("caltech-101", "caltech101")]
    place = find_root(
        path,
        ["101_ObjectCategories", *nested],
        lambda p: any(metadata.fold(folder) in folded for folder in folders_in(p)),
    )
    if place is None:
        return None
    return _found("caltech101", names, names, place, train=None, test="", known=NO_CLASS)


def find_vtab(path: Path, test_only: bool) -> FoundDataset | None:
    """VTAB, the stream of five data sets: ``train/0/`` to ``train/49/``, as in the published archive, or ``train/CLASS/``; and
    ``test/`` likewise.

    Raises ``InputError`` if a part has folders named by number and these are not 50, or those of the other part.
    """
    names = metadata.class_names("vtab_classes.tsv")
    place = find_root(path, ("vtab", "vtab-cil/vtab"), lambda p: (p / "test").is_dir())
    if place is None:
        return None
    parts = {part: _by_number(place / part, len(names)) for part in (("test",) if test_only else ("train", "test"))}
    train, test = parts.get("train"), parts["test"]
    if train and test and list(map(int, train)) != list(map(int, test)):
        raise InputError(
            f"{place / 'train'} and {place / 'test'} must have folders of the same numbers, each the number of a class: "
            "get the data again."
        )
    keys = {part: names if numbered is None else numbered for part, numbered in parts.items()}
    return _found("vtab", names, keys, place, train=None if test_only else "train", test="test")


def _by_number(part: Path, classes: int) -> tuple[str, ...] | None:
    """The class folders of a part in the order of their numbers; ``None`` if they have names."""
    folders = folders_in(part)
    numbered = sorted((folder for folder in folders if folder.isdecimal()), key=int)
    if not numbered:
        return None
    if len(numbered) != len(folders) or len({int(folder) for folder in numbered}) != classes:
        others = f" and {len(folders) - len(numbered)} others" if len(numbered) != len(folders) else ""
        raise InputError(
            f"{part} must hold {classes} folders named by number, in the order of the classes, or folders named by class; found "
            f"{len(numbered)} named by number{others}: get the data again."
        )
    return tuple(numbered)


def _found(
    name: str, class_names: Sequence[str], keys: Sequence[str] | Mapping[str, Sequence[str]], place: Path, *,
    train: str | None, test: str, known: Sequence[str] = (),
) -> FoundDataset:  # fmt: skip
    """A data set of class folders in ``place/train`` and ``place/test``. ``keys``: the classes' folder names, or these by part;
    case, spaces, underscores and hyphens do not count. ``known``: further folders that may be there.
    """
    splits, extra = {}, []
    for part in (train, test):
        if part is None:
            continue
        folders = {}
        for folder in folders_in(place / part):
            key = metadata.fold(folder)
            if key not in folders:
                folders[key] = folder
            else:  # a second folder of the same class is not read
                extra.append(f"{part}/{folder}".lstrip("/"))
        own = keys[part] if isinstance(keys, Mapping) else keys
        chosen = [folders.pop(metadata.fold(key), key) for key in own]
        files = ClassFiles(place / part, chosen, (images_in(place / part / folder) for folder in chosen))
        splits[part] = files.split()
        allowed = {metadata.fold(key) for key in known}
        extra += [f"{part}/{folder}".lstrip("/") for key, folder in folders.items() if key not in allowed]
    dataset = Dataset(name, tuple(class_names), EMPTY_SPLIT if train is None else splits[train], splits[test])
    return FoundDataset(dataset, str(place), tuple(sorted(extra)))
