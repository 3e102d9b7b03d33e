"""Data sets of the class-incremental toolboxes: most are subsets of known data sets, with a split of their own.

They are distributed as ``train/CLASS`` and ``test/CLASS``. Most of these splits are random, so they cannot be made again from the
original archive: class folders without these parts need lists of the images of each part. Aircraft and Cars have the split of
the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mgclip.errors import InputError
from mgclip.stream import lists, metadata
from mgclip.stream.classfolders import part_in_folders
from mgclip.stream.data import Dataset
from mgclip.stream.entry import DatasetEntry, Finder, Published
from mgclip.stream.files import folders_in
from mgclip.stream.layout import EMPTY_SPLIT, FoundDataset, find_root
from mgclip.stream.matlab import find_cars

CUB = "cub200_classes.tsv"
IMAGENET_A = "imagenet_a_classes.tsv"
TINY_IMAGENET = "tiny_imagenet_classes.tsv"
CARS, FOOD, UCF, SUN, OBJECTNET = (
    f"setting_b_classes.tsv#{data}" for data in ("cars-100", "food-100", "ucf-100", "sun397-300", "objectnet-200")
)
CARS_CLASSES = 100
"""The published list of Cars has 102 names: the data set consists of those that have folders."""
NO_CARS = ("FIAT 500 Abarth 2012", "FIAT 500 Convertible 2012")
"""The names without folders. The counts of the archive show it: the first 98 classes of the devkit have 8,054 images, and with
the two Ferrari 458 Italia they have the published 8,218.
"""
LISTS = {"train": "train.txt", "test": "test.txt"}
OFFICIAL = {
    "cub200-resplit": ("train_test_split.txt", "data=cub200 reads this split"),
    "food100": ("meta/train.txt", "data=food101 reads this split, of 101 classes"),
    "ucf100": ("ucfTrainTestlist/trainlist01.txt", ""),
    "sun300": ("Partitions/Training_01.txt", ""),
}
"""A file of the official split of a data set that the toolboxes split again, and what reads it."""


def find_folders(name: str, table: str, usual: Sequence[str], path: Path, test_only: bool) -> FoundDataset | None:
    """A data set in ``train/CLASS`` and ``test/CLASS`` (or ``val/CLASS``).

    Args:
        name: Its name.
        table: The table of its classes.
        usual: Usual names of its folder.
        path: Where to look.
        test_only: Leave the training part empty.

    Raises:
        InputError: If Cars has more or fewer than its 100 classes.
    """
    keys = _folders(table)
    root = find_root(path, usual, lambda p: any(_classes_in(p / part, keys) for part in ("train", "test", "val")))
    if root is None:
        return None
    test = "test" if _classes_in(root / "test", keys) else "val"
    names = metadata.class_names(table)
    if table == CARS:
        names = keys = _cars(root, _classes_in(root / "train", keys) | _classes_in(root / test, keys))
    splits, extra = {"train": EMPTY_SPLIT}, list[str]()
    for part in (test,) if test_only else ("train", test):
        files, others = part_in_folders(root, part, keys)
        splits[part], extra = files.split(), extra + others
    return FoundDataset(Dataset(name, names, splits["train"], splits[test]), str(root), tuple(sorted(extra)))


def find_listed(name: str, table: str, usual: Sequence[str], path: Path, test_only: bool) -> FoundDataset | None:
    """A data set in class folders at any depth, split by ``train.txt`` and ``test.txt`` with a path on each line. Takes what
    ``find_folders`` takes. Raises ``InputError`` if a list names an image twice, or one that is in no class folder.
    """
    root = find_root(path, usual, lambda p: all((p / file).is_file() for file in LISTS.values()))
    if root is None:
        return None
    keys = _folders(table)
    known = {metadata.fold(key) for key in keys}

    def parse(line: str) -> lists.Named:
        image = line.strip().removeprefix("./")
        first, _, rest = image.partition("/")
        if first in ("train", "test") and not (root / first).is_dir():  # the published lists of ObjectNet name these parts
            image = f"images/{rest}" if (root / "images").is_dir() else rest
        return image, next((folder for folder in image.split("/")[:-1] if metadata.fold(folder) in known), "")

    parts = {part: lists.labelled(root / file, keys, parse) for part, file in LISTS.items()}
    names = metadata.class_names(table)
    if table == CARS:
        every, names = names, _cars(root, {names[label] for lines in parts.values() for label, _ in lines})
        parts = {part: [(names.index(every[label]), line) for label, line in lines] for part, lines in parts.items()}
    return lists.found_in_lists(name, names, root, parts, test_only, None, images="")


def find_tiny_imagenet(path: Path, test_only: bool) -> FoundDataset | None:
    """TinyImageNet: ``train/nXXXXXXXX/images/*.JPEG``, and ``val/images/*.JPEG`` with ``val/val_annotations.txt``; or ``val/``
    sorted into class folders. The images in ``test/`` have no published labels and are ignored.
    """
    synsets, names = metadata.column(TINY_IMAGENET, "wnid"), metadata.class_names(TINY_IMAGENET)
    usual = ("tiny-imagenet-200", "tiny-imagenet")
    root = find_root(path, usual, lambda p: any(_classes_in(p / part, synsets) for part in ("train", "val")))
    if root is None:
        return None
    files, extra = part_in_folders(root, "train", synsets, below="images")
    train = EMPTY_SPLIT if test_only else files.split()
    annotations = root / "val" / "val_annotations.txt"
    if annotations.is_file() and not _classes_in(root / "val", synsets):
        parts = {"test": lists.labelled(annotations, synsets, _annotation)}
        found = lists.found_in_lists("tiny-imagenet", names, root, parts, True, None, images="val/images")
        return FoundDataset(Dataset("tiny-imagenet", names, train, found.dataset.test), str(root), tuple(extra), found.absent)
    files, others = part_in_folders(root, "val", synsets, known=("images",), below="images")
    return FoundDataset(Dataset("tiny-imagenet", names, train, files.split()), str(root), (*extra, *others))


def _annotation(line: str) -> lists.Named:
    """The image and the synset in ``val_0.JPEG<tab>n03444034<tab>...``."""
    image, _, rest = line.partition("\t")
    return image, rest.partition("\t")[0]


def find_cars_devkit(path: Path, test_only: bool) -> FoundDataset | None:
    """Cars in the layout of Stanford Cars, whose split it has."""
    return find_cars("cars100", [name for name in metadata.class_names(CARS) if name not in NO_CARS], path, test_only)


def refuse_official(name: str, file: str, advice: str, usual: Sequence[str], path: Path, test_only: bool) -> None:
    """Refuse the original archive of a data set that the toolboxes split again.

    Args:
        name: The name of the data set.
        file: A file of its official split.
        advice: What reads this split, if anything does.
        usual: Usual names of its folder.
        path: Where to look.
        test_only: Not used: the test part is another one too.

    Raises:
        InputError: If the file is there.
    """
    if (root := find_root(path, usual, lambda p: (p / file).is_file())) is not None:
        raise InputError(
            f"{root / file} is the official split, and {name} has its own, which cannot be made from it: give the archive of the "
            f"toolbox, or train.txt and test.txt with an image on each line{f'; {advice}' if advice else ''}."
        )


def _folders(table: str) -> tuple[str, ...]:
    """The names of the class folders, in the order of the classes."""
    names = metadata.class_names(table)
    if table == CUB:
        return tuple(f"{number:03}.{name}" for number, name in enumerate(names, 1))
    return metadata.column(table, "wnid") if table == IMAGENET_A else names


def _classes_in(folder: Path, keys: Sequence[str]) -> set[str]:
    """The keys of the class folders in a folder."""
    there = {metadata.fold(each) for each in folders_in(folder)}
    return {key for key in keys if metadata.fold(key) in there}


def _cars(root: Path, there: set[str]) -> tuple[str, ...]:
    """The classes of Cars, of those that its list names. Raises ``InputError`` if they are not 100."""
    names = metadata.class_names(CARS)
    if len(there) != CARS_CLASSES:
        raise InputError(
            f"{root} must contain {CARS_CLASSES} of the {len(names)} classes in the list of Cars; found {len(there)}: give the "
            "archive of the toolbox, which has the right ones."
        )
    return tuple(name for name in names if name in there)


def _finder(name: str, table: str, *usual: str, original: Finder | None = None) -> Finder:
    """Looks for class folders in parts, then for lists, then for the layout of the ``original`` data set."""
    where = name, table, (name, *usual)
    finders: list[Finder] = [partial(find_folders, *where), partial(find_listed, *where), *([original] if original else [])]
    if name in OFFICIAL:
        finders.append(partial(refuse_official, name, *OFFICIAL[name], usual))

    def find(path: Path, test_only: bool) -> FoundDataset | None:
        return next((found for finder in finders if (found := finder(path, test_only)) is not None), None)

    return find


ARCHIVE = "https://github.com/LAMDA-CL/C3Box, which links to the archive"
LAYOUT = "train/CLASS/*, test/CLASS/* (or val/CLASS/*); or class folders, with train.txt and test.txt next to them"

TOOLBOX: dict[str, DatasetEntry] = {
    "cub200-resplit": DatasetEntry(
        "birds: CUB-200-2011, split again", ARCHIVE, LAYOUT.replace("CLASS", "001.Black_footed_Albatross"),
        200, Published(9_430), Published(2_358), _finder("cub200-resplit", CUB, "cub", "cub200", "CUB_200_2011"), table=CUB,
    ),
    "cars100": DatasetEntry(
        "cars: 100 classes of Stanford Cars", ARCHIVE,
        f"{LAYOUT}; or cars_train/*.jpg, cars_test/*.jpg, devkit/*.mat and cars_test_annos_withlabels.mat",
        CARS_CLASSES, Published(4_135), Published(4_083), _finder("cars100", CARS, "cars", original=find_cars_devkit), table=CARS,
    ),
    "aircraft": DatasetEntry(
        "aircraft: FGVC-Aircraft, by variant", "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        f"data/images/*.jpg, with images_variant_trainval.txt and images_variant_test.txt in data/; or {LAYOUT}",
        100, Published(6_667), Published(3_333), _finder("aircraft", lists.AIRCRAFT, original=lists.find_aircraft),
        table=lists.AIRCRAFT,
    ),
    "food100": DatasetEntry(
        "dishes: 100 classes of Food-101, split again", ARCHIVE, LAYOUT,
        100, Published(), Published(20_012), _finder("food100", FOOD, "food101", "food", "food-101"), table=FOOD,
    ),
    "ucf100": DatasetEntry(
        "actions: a frame of each video of 100 classes of UCF101", ARCHIVE, LAYOUT,
        100, Published(), Published(2_639), _finder("ucf100", UCF, "ucf101", "ucf", "UCF101"), table=UCF,
    ),
    "sun300": DatasetEntry(
        "scenes: 300 classes of SUN397", ARCHIVE, LAYOUT,
        300, Published(72_870), Published(18_179), _finder("sun300", SUN, "sun397", "sun", "SUN397"), table=SUN,
    ),
    "objectnet200": DatasetEntry(
        "objects in unusual places: 200 classes of ObjectNet", ARCHIVE, LAYOUT,
        200, Published(), Published(6_628), _finder("objectnet200", OBJECTNET, "objectnet"), table=OBJECTNET,
    ),
    "imagenet-a": DatasetEntry(
        "photographs that classifiers mistake", "https://github.com/LAMDA-CL/LAMDA-PILOT, which links to the archive",
        LAYOUT.replace("CLASS", "nXXXXXXXX"),
        200, Published(5_981), Published(1_519), _finder("imagenet-a", IMAGENET_A), table=IMAGENET_A,
    ),
    "tiny-imagenet": DatasetEntry(
        "small photographs; its validation part is the test part", "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "train/nXXXXXXXX/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt; or val/nXXXXXXXX/*.JPEG",
        200, Published(100_000, (500, 500)), Published(10_000, (50, 50)), find_tiny_imagenet, table=TINY_IMAGENET,
    ),
}  # fmt: skip
"""The counts are those of the archives; None if the published count does not add up to the original data set (Food, UCF101), or
could not be confirmed (ObjectNet).
"""
