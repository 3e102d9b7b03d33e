"""The table of data sets: published counts, source, layout on disk; and how to load them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mgclip.errors import InputError
from mgclip.home import in_home
from mgclip.images import UnrotatedPath
from mgclip.registry import OWN_PACKAGE, Registry, caller_package
from mgclip.stream import classfolders, lists, metadata
from mgclip.stream.checked_parts import checked_parts
from mgclip.stream.cifar import find_cifar100
from mgclip.stream.data import Dataset, Filter, Split
from mgclip.stream.entry import DatasetEntry, Finder, Published
from mgclip.stream.folder import find_folder, find_test_folder, load_folder
from mgclip.stream.hub import HubSource, load_hub, parquet_files
from mgclip.stream.layout import EMPTY_SPLIT, FoundDataset, require_complete
from mgclip.stream.mtil import MTIL
from mgclip.stream.shard_images import find_shard_dataset
from mgclip.stream.toolbox import TOOLBOX
from mgclip.words import ended, nearest

IMAGENET_HUB = HubSource("ILSVRC/imagenet-1k", test="validation", gated=True, by_index=True)
IMAGENET_LAYOUT = "train/nXXXXXXXX/*.JPEG, val/nXXXXXXXX/*.JPEG"
IMAGENET_SOURCE = "https://image-net.org (ILSVRC2012, after registration)"
FONTS = "the fonts of the package qtawesome (the extra icons)"

BUILT_IN: dict[str, DatasetEntry] = {
    "icons100": DatasetEntry(
        "icons: learned as line drawings, tested as solid ones", FONTS, "generated",
        100, Published(10_000, (100, 100)), Published(2_000, (20, 20)),
    ),
    "icons-concepts": DatasetEntry(
        "icons of 100 other concepts, by Phosphor", FONTS, "generated",
        100, Published(10_000, (100, 100)), Published(2_000, (20, 20)),
    ),
    "icons-families": DatasetEntry(
        "icons of 100 further concepts, by other designers", FONTS, "generated",
        100, Published(10_000, (100, 100)), Published(2_000, (20, 20)),
    ),
    "cifar100": DatasetEntry(
        "small photographs", "https://www.cs.toronto.edu/~kriz/cifar.html",
        "cifar-100-python.tar.gz, or that archive unpacked",
        100, Published(50_000, (500, 500)), Published(10_000, (100, 100)), find_cifar100,
        HubSource("uoft-cs/cifar100", image="img", label="fine_label", corrected={"cra": "crab"}),
    ),
    "imagenet-r": DatasetEntry(
        "renditions: art, cartoons, toys ...", "https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
        "imagenet-r/nXXXXXXXX/*.jpg, or train/nXXXXXXXX/*.jpg and test/nXXXXXXXX/*.jpg",
        200, Published(24_000), Published(6_000), classfolders.find_imagenet_r, table=classfolders.IMAGENET_R,
    ),
    "imagenet100": DatasetEntry(
        "the first 100 classes of ImageNet-1K", IMAGENET_SOURCE, IMAGENET_LAYOUT,
        100, Published(None, (732, 1300)), Published(5_000, (50, 50)), classfolders.find_imagenet100, IMAGENET_HUB,
        classfolders.IMAGENET,
    ),
    "imagenet1k": DatasetEntry(
        "photographs; its validation part is the test part", IMAGENET_SOURCE, IMAGENET_LAYOUT,
        1000, Published(1_281_167, (732, 1300)), Published(50_000, (50, 50)), classfolders.find_imagenet1k, IMAGENET_HUB,
        classfolders.IMAGENET,
    ),
    "cub200": DatasetEntry(
        "birds, CUB-200-2011", "https://data.caltech.edu/records/65de6-vp158",
        "CUB_200_2011/images/001.Black_footed_Albatross/*.jpg, with images.txt, image_class_labels.txt, "
        "train_test_split.txt and classes.txt next to images/",
        200, Published(5_994, (29, 30)), Published(5_794, (11, 30)), lists.find_cub200, table="cub200_classes.tsv",
    ),
    "vtab": DatasetEntry(
        "10 classes each of RESISC45, DTD, Pets, EuroSAT, Flowers",
        "the VTAB archive linked from https://github.com/LAMDA-CL/LAMDA-PILOT",
        "train/NUMBER/*.jpg, test/NUMBER/*.jpg, 50 numbers in the order of the classes; or folders named by class",
        50, Published(1_796), Published(8_619), classfolders.find_vtab, table="vtab_classes.tsv",
    ),
    "food101": DatasetEntry(
        "dishes", "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        "food-101/images/apple_pie/*.jpg, food-101/meta/train.txt and test.txt",
        101, Published(75_750, (750, 750)), Published(25_250, (250, 250)), lists.find_food101,
        HubSource("ethz/food101", test="validation"), "food101_classes.tsv",
    ),
    "oxford-pets": DatasetEntry(
        "breeds of cats and dogs", "https://www.robots.ox.ac.uk/~vgg/data/pets/",
        "images/Abyssinian_1.jpg, annotations/trainval.txt and test.txt",
        37, Published(3_680), Published(3_669), lists.find_oxford_pets,
        HubSource("timm/oxford-iiit-pet"), "oxford_pet_classes.tsv",
    ),
    "caltech101": DatasetEntry(
        "objects; no published split: all images are test", "https://data.caltech.edu/records/mzrjq-6wc02",
        "101_ObjectCategories/accordion/*.jpg",
        101, Published(0), Published(8_677, (31, 800)), classfolders.find_caltech101, table="caltech101_classes.tsv",
        test_only=True,
    ),
    **TOOLBOX,
    **MTIL,
    "folder": DatasetEntry(
        "your own images", "your own folder",
        "train/CLASS/*, test/CLASS/* (or val/CLASS/*), or shards: train*.tar or *.parquet, test*.tar or *.parquet",
    ),
}  # fmt: skip

DATASETS = Registry("data set", "mgclip.datasets", DatasetEntry, BUILT_IN)
"""All data sets: those above, registered ones, and those of installed packages (entry points in ``mgclip.datasets``)."""
TRAIN_PER_CLASS, TEST_PER_CLASS = 100, 20
"""Images per class that are drawn of icon data sets, unless another number is given."""
ICON_SETS = ("icons100", "icons-concepts", "icons-families")


def register_dataset(name: str, entry: DatasetEntry) -> None:
    """Make a data set known to this process under a name.

    An installed package needs no call: it offers its ``DatasetEntry`` as an entry point in the group ``mgclip.datasets``.

    Args:
        name: Its name: lower-case letters, digits and hyphens.
        entry: The data set.

    Raises:
        InputError: If MG-CLIP has a data set of that name, or the name cannot be used.
    """
    DATASETS.register(name, entry, caller_package())


def dataset_entry(name: str) -> DatasetEntry:
    """The entry of a data set. Raises ``InputError`` that suggests the nearest name if there is none."""
    if name in DATASETS:
        return DATASETS[name]
    raise InputError(ended(f"There is no data set {name}{nearest(name, DATASETS)}"))


def has_files(entry: DatasetEntry) -> bool:
    """Whether a data set can be read from a path."""
    return entry.make is None or entry.find is not None or entry.hub is not None


def load_dataset(
    name: str,
    *,
    path: str | None,
    train_per_class: int = TRAIN_PER_CLASS,
    test_per_class: int = TEST_PER_CLASS,
    filter: Filter = "none",
    test_only: bool = False,
) -> Dataset:
    """Load a data set.

    Args:
        name: Its name in the table.
        path: Path of the data; None for the hub, or the icon fonts.
        train_per_class: Training images per class to generate; icon data sets only.
        test_per_class: Test images per class to generate; icon data sets only.
        filter: What every image passes through; icons100 only.
        test_only: Leave the training part empty.

    Raises:
        InputError: If it cannot be loaded or lacks a class.
    """
    if filter != "none" and name != "icons100":
        raise InputError(f"filter = {filter} applies to icons100 only, and the data set is {name}: leave filter out.")
    if dataset_entry(name).test_only and not test_only:
        raise InputError(f"{name} has no training images: it can only be tested on.")
    if name == "folder" and not test_only:
        shards = find_shard_dataset(_given(name, path), test_only=False)
        return load_folder(_given(name, path)) if shards is None else require_complete(shards, test_only=False)
    if name in ICON_SETS:
        found = _icons(name, train_per_class, test_per_class, filter, test_only)
    else:
        found = find_dataset(name, path=path, test_only=test_only)
    return require_complete(found, test_only=test_only)


def find_dataset(name: str, *, path: str | None, test_only: bool = False) -> FoundDataset:
    """Find a data set, even if classes have no image. Arguments and errors are those of ``load_dataset``."""
    entry = dataset_entry(name)
    if name in ICON_SETS:
        return _icons(name, TRAIN_PER_CLASS, TEST_PER_CLASS, "none", test_only)
    if name == "folder":
        if (shards := find_shard_dataset(_given(name, path), test_only=test_only)) is not None:
            return shards
        return (find_test_folder if test_only else find_folder)(_given(name, path))
    if path is not None and not has_files(entry):
        raise InputError(f"{name} is made when it is used and takes no path: leave {path} out.")
    if path is None and entry.make is not None:
        return FoundDataset(_made(name, entry.make, test_only), entry.source)
    class_names = None if entry.table is None else metadata.class_names(entry.table)[: entry.classes]
    if path is None:
        if entry.hub is None:
            raise InputError(f"{name} cannot be downloaded automatically: {_where(entry)}.")
        return FoundDataset(load_hub(name, entry.hub, class_names, parquet=None, test_only=test_only), entry.hub.id)
    root = UnrotatedPath(Path(in_home(path)))
    if entry.find is not None and (found := _found(name, entry.find, root, test_only)) is not None:
        return found
    if entry.hub is not None and (parquet := parquet_files(root, entry.hub, test_only=test_only)):
        return FoundDataset(load_hub(name, entry.hub, class_names, parquet=parquet, test_only=test_only), str(root))
    raise InputError(f"There is no {name} at {root}: {_where(entry)}.")


def _found(name: str, find: Finder, root: Path, test_only: bool) -> FoundDataset | None:
    with DATASETS.naming_errors(name, "looked for its files"):
        found = find(root, test_only)
        if found is not None and not isinstance(found, FoundDataset):
            raise TypeError(f"expected a FoundDataset or None; found {type(found).__name__}")
        if found is None or DATASETS.package(name) == OWN_PACKAGE:
            return found
        return replace(found, dataset=checked_parts(found.dataset, partial(DATASETS.naming_errors, name)))


def _made(name: str, make: Callable[[bool], Dataset], test_only: bool) -> Dataset:
    with DATASETS.naming_errors(name, "made its images"):
        return checked_parts(make(test_only), partial(DATASETS.naming_errors, name))


def _given(name: str, path: str | None) -> Path:
    if path is None:
        raise InputError(f"The data set {name} needs data_path: a folder with train/ and test/ (or val/).")
    return Path(in_home(path))


def _where(entry: DatasetEntry) -> str:
    parquet = f", or a folder of parquet files of {entry.hub.id}" if entry.hub else ""
    return f"get it from {entry.source}, unpack it and give its folder (data_path in a recipe): {entry.layout}{parquet}"


def _icons(name: str, train_per_class: int, test_per_class: int, filter: Filter, test_only: bool) -> FoundDataset:
    from mgclip.stream import icons

    if name == "icons100":
        drawn, test = icons.load(train_per_class, test_per_class, filter=filter)
    else:
        drawn, test = icons.load_training(name, train_per_class), icons.load_retention(name, test_per_class)
    train = EMPTY_SPLIT if test_only else Split(drawn, np.arange(icons.CLASSES).repeat(train_per_class))
    dataset = Dataset(name, tuple(test.glyphs), train, Split(test, np.arange(icons.CLASSES).repeat(test_per_class)))
    return FoundDataset(dataset, FONTS)
