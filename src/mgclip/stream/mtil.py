"""Data sets of MTIL and X-TAIL, read from their original archives and split as these streams split them.

MTIL (Zheng et al., ICCV 2023) uses the training part without the validation part, and random parts of data sets without a split.
X-TAIL uses the splits of CoOp. Class folders in ``train/`` and ``test/`` are read too, with the names of these folders.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mgclip.errors import InputError, first_line
from mgclip.stream import lists, metadata
from mgclip.stream.classfolders import CALTECH_101, NO_CLASS, part_in_folders
from mgclip.stream.coop import find_coop
from mgclip.stream.data import Dataset, Split
from mgclip.stream.entry import DatasetEntry, Finder, Published
from mgclip.stream.files import folders_in
from mgclip.stream.folder import find_folder, find_parts, find_test_folder
from mgclip.stream.hub import HubSource
from mgclip.stream.layout import EMPTY_SPLIT, FoundDataset, find_root
from mgclip.stream.matlab import FLOWERS, find_flowers102, find_stanford_cars

CALTECH, EUROSAT, MNIST = (f"mtil_classes.tsv#{data}" for data in ("caltech101", "eurosat", "mnist"))
SPLIT_SEED, TRAIN_SHARE = 42, 0.8
"""How MTIL splits a data set at random: PyTorch's permutation with this seed, of which this share is for training."""
MNIST_FILES = {"train": "train", "test": "t10k"}
IDX_IMAGES, IDX_LABELS = 2051, 2049
"""The first four bytes of files of images and of labels."""


def find_dtd(path: Path, test_only: bool) -> FoundDataset | None:
    """DTD with its first split: ``images/banded/*.jpg``, ``labels/train1.txt`` and ``labels/test1.txt``."""
    files = {part: f"labels/{part}1.txt" for part in ("train", "test")}
    root = find_root(path, ("dtd",), lambda p: all((p / file).is_file() for file in files.values()))
    if root is None:
        return None
    folders = folders_in(root / "images")
    parts = {part: lists.labelled(root / file, folders, _folder_and_image) for part, file in files.items()}
    return lists.found_in_lists("dtd", [folder.replace("_", " ") for folder in folders], root, parts, test_only, None)


def _folder_and_image(line: str) -> lists.Named:
    return line.strip(), line.strip().partition("/")[0]


def find_split_at_random(name: str, table: str, usual: tuple[str, ...], path: Path, test_only: bool) -> FoundDataset | None:
    """A data set of class folders, split like MTIL. An incomplete copy gives other parts.

    Args:
        name: Its name.
        table: The table of its classes: their folders, in the order in which they are split, and their names.
        usual: Usual names of its folder.
        path: Where to look.
        test_only: Leave the training part empty.
    """
    import torch

    folders, names = metadata.column(table, "folder"), metadata.class_names(table)
    root = find_root(path, usual, lambda p: not set(folders).isdisjoint(folders_in(p)))
    if root is None:
        return None
    files, extra = part_in_folders(root, "", folders, NO_CLASS)
    every = files.split()
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(SPLIT_SEED)).numpy()
    train, test = (np.sort(each) for each in np.split(order, [int(TRAIN_SHARE * len(files))]))
    dataset = Dataset(name, names, EMPTY_SPLIT if test_only else every.take(train), every.take(test))
    return FoundDataset(dataset, str(root), tuple(extra))


def find_mnist(path: Path, test_only: bool) -> FoundDataset | None:
    """MNIST: ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same of ``t10k``, unpacked or with ``.gz``."""
    root = find_root(path, ("mnist", "MNIST/raw", "raw"), lambda p: _idx_file(p, "t10k-images-idx3-ubyte") is not None)
    if root is None:
        return None
    names = metadata.class_names(MNIST)
    splits = {"train": EMPTY_SPLIT}
    for part, prefix in MNIST_FILES.items():
        if part == "train" and test_only:
            continue
        images = _idx(root, f"{prefix}-images-idx3-ubyte", IDX_IMAGES)
        labels = _idx(root, f"{prefix}-labels-idx1-ubyte", IDX_LABELS).astype(np.int64)
        if len(images) != len(labels) or labels.max(initial=0) >= len(names):
            raise InputError(f"{root} must contain a label from 0 to 9 for each image of {prefix}: download it again.")
        splits[part] = Split(np.broadcast_to(images[..., None], (*images.shape, 3)), labels)  # type: ignore[arg-type]
    return FoundDataset(Dataset("mnist", names, splits["train"], splits["test"]), str(root))


def _idx_file(root: Path, name: str) -> Path | None:
    return next((file for file in (root / name, root / f"{name}.gz") if file.is_file()), None)


def _idx(root: Path, name: str, kind: int) -> NDArray[np.uint8]:
    """The array in an IDX file: its kind and sizes in big-endian order, then bytes. Raises ``InputError`` if it is damaged."""
    file = _idx_file(root, name)
    if file is None:
        raise InputError(f"{root} lacks {name}: download it.")
    try:
        raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        magic, *sizes = np.frombuffer(raw, ">u4", 1 + kind % 256)
        values = np.frombuffer(raw, np.uint8, offset=4 * (1 + len(sizes))).reshape([int(size) for size in sizes])
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{file} cannot be read ({first_line(error)}): download it again.") from None
    if magic != kind:
        raise InputError(f"{file} must begin with {kind}; found {magic}: download it again.")
    return values


def _finder(name: str, original: Finder) -> Finder:
    """Looks for the original archive, then for class folders with a training part and a test part."""

    def find(path: Path, test_only: bool) -> FoundDataset | None:
        if (found := original(path, test_only)) is not None or not path.is_dir():
            return found
        if (parts := find_parts(path)).train is None or parts.test is None:
            return None
        found = (find_test_folder if test_only else find_folder)(path)
        return replace(found, dataset=replace(found.dataset, name=name))

    return find


def _random(name: str, table: str, *usual: str) -> Finder:
    return _finder(name, partial(find_split_at_random, name, table, usual))


FOLDERS = "; or train/CLASS/*, test/CLASS/*"

MTIL: dict[str, DatasetEntry] = {
    "mtil-aircraft": DatasetEntry(
        "aircraft: FGVC-Aircraft, trained on its part train alone", "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        f"data/images/*.jpg, with images_variant_train.txt and images_variant_test.txt in data/{FOLDERS}",
        100, Published(3_334), Published(3_333),
        _finder("mtil-aircraft", partial(lists.find_aircraft, name="mtil-aircraft", train="train")), table=lists.AIRCRAFT,
    ),
    "mtil-caltech101": DatasetEntry(
        "objects: Caltech-101, split at random as in MTIL", "https://data.caltech.edu/records/mzrjq-6wc02",
        f"101_ObjectCategories/accordion/*.jpg{FOLDERS}",
        101, Published(6_941), Published(1_736),
        _random("mtil-caltech101", CALTECH, *CALTECH_101), table=CALTECH,
    ),
    "dtd": DatasetEntry(
        "textures, the first of ten splits", "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        f"images/banded/*.jpg, labels/train1.txt and labels/test1.txt{FOLDERS}",
        47, Published(1_880, (40, 40)), Published(1_880, (40, 40)), _finder("dtd", find_dtd),
    ),
    "mtil-eurosat": DatasetEntry(
        "satellite images: EuroSAT, split at random as in MTIL", "https://github.com/phelber/EuroSAT",
        f"2750/AnnualCrop/*.jpg{FOLDERS}",
        10, Published(21_600), Published(5_400),
        _random("mtil-eurosat", EUROSAT, "2750", "EuroSAT_RGB", "eurosat/2750"), table=EUROSAT,
    ),
    "flowers102": DatasetEntry(
        "flowers, without the validation part", "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        f"jpg/image_00001.jpg, imagelabels.mat and setid.mat{FOLDERS}",
        102, Published(1_020, (10, 10)), Published(6_149), _finder("flowers102", find_flowers102), table=FLOWERS,
    ),
    "mnist": DatasetEntry(
        "handwritten digits", "https://ossci-datasets.s3.amazonaws.com/mnist/",
        f"train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz and the same of t10k, also unpacked{FOLDERS}",
        10, Published(60_000), Published(10_000), _finder("mnist", find_mnist), HubSource("ylecun/mnist"), MNIST,
    ),
    "stanford-cars": DatasetEntry(
        "cars, 196 classes", "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        f"cars_train/*.jpg, cars_test/*.jpg, devkit/*.mat and cars_test_annos_withlabels.mat{FOLDERS}",
        196, Published(8_144), Published(8_041), _finder("stanford-cars", find_stanford_cars),
    ),
    "coop": DatasetEntry(
        "any data set with a split of CoOp, as in X-TAIL", "https://github.com/KaiyangZhou/CoOp, which links to the split files",
        f"split_zhou_NAME.json next to the folder of images, such as images/{FOLDERS}", find=_finder("coop", find_coop),
    ),
}  # fmt: skip
