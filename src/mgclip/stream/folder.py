"""A folder of class folders, alone or split into parts: ``train/`` and ``test/``, or what others call these."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mgclip.errors import InputError
from mgclip.names import check_alike, look, same
from mgclip.stream.data import Dataset
from mgclip.stream.files import ClassFiles, folders_in, images_in
from mgclip.stream.layout import EMPTY_SPLIT, FoundDataset, empty_classes
from mgclip.stream.metadata import fold
from mgclip.stream.walk import is_image_name, subfolders, walk

TRAIN_NAMES = ("train", "training", "trainset", "trainingset", "trainval")
TEST_NAMES = ("test", "testing", "testset", "eval", "evaluation", "val", "valid", "validation", "valset", "dev")
"""Names of the part that is measured on, the preferred one first. Case, spaces, hyphens and underscores do not count."""
OTHER_NAMES = ("holdout", "unlabeled", "unlabelled", "unsup", "unsupervised")
"""Parts that are neither trained nor measured on."""

SPLIT_LAYOUT = (
    "the folders train/ and test/ (or val/, valid/, validation/ ...), each with one folder of images for each class"
)


@dataclass(frozen=True)
class Parts:
    """Where the class folders are: those to train on and those to measure on, if there are such; ``unused`` are the names of
    other folders next to these.
    """

    train: Path | None
    test: Path | None
    unused: tuple[str, ...] = ()

    @property
    def about(self) -> str | None:
        """Which part is measured on and which are not used, if there was a choice."""
        if not self.unused:
            return None
        used = "" if self.test is None else f"{self.test.name}/ is measured on; "
        return f"{used}not used: {', '.join(f'{name}/' for name in self.unused)}"


def image_files(folder: Path) -> list[Path]:
    """Image files below a folder, by their endings, sorted.

    Args:
        folder: The folder to search at any depth; links are followed, hidden folders and litter are not read.

    Returns:
        Their paths, broken links with the name of an image among them.

    Raises:
        InputError: If a folder cannot be read, or a link leads nowhere.
    """
    return sorted(Path(entry.path) for entry in walk(folder) if is_image_name(entry.name))


def read_classes(folder: Path) -> dict[str, list[Path]]:
    """The classes of a folder of class folders.

    Args:
        folder: The folder; each folder in it is a class, of all images in it at any depth.

    Returns:
        Image files by class name, sorted by name; empty classes are kept.

    Raises:
        InputError: If there is no such folder, it has no class folder, it holds folders of folders, or two names look alike.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    names = subfolders(folder)
    if not names:
        raise InputError(f"{folder} has no class folder: expected one folder of images for each class.")
    if all(_holds_folders_only(folder / name) for name in names):
        inside = ", ".join(folders_in(folder / names[0])[:3])
        raise InputError(
            f"{folder} holds folders of folders ({_listed(names)}; {names[0]}/ holds {inside}): "
            "expected one folder of images for each class, so give one of these folders."
        )
    check_alike(names)
    return {name: image_files(folder / name) for name in names}


def find_parts(folder: Path) -> Parts:
    """Find the parts of a folder: folders called like parts that hold folders only, for a class may be called *train*.

    Args:
        folder: A folder of class folders, or of parts.

    Returns:
        The folder itself as the training part if it has no parts; otherwise its parts, of several test parts the one whose name
        comes first in ``TEST_NAMES``.

    Raises:
        InputError: If there are two training parts, or other folders next to the only part.
    """
    names = folders_in(folder)
    called = {name: fold(name) for name in names}
    parts = [
        name for name in names if called[name] in (*TRAIN_NAMES, *TEST_NAMES) and _holds_folders_only(folder / name)
    ]
    train = [name for name in parts if called[name] in TRAIN_NAMES]
    tests = sorted(
        (name for name in names if called[name] in TEST_NAMES),
        key=lambda name: (name not in parts, _rank(called[name])),
    )
    mixed = [name for name in names if called[name] in (*TRAIN_NAMES, *TEST_NAMES) and _holds_both(folder / name)]
    if mixed and len(parts) + len(mixed) > 1:
        raise InputError(
            f"{folder / mixed[0]} holds class folders ({_listed(folders_in(folder / mixed[0]))}) and images next to them: "
            "move these images into a class folder, or away."
        )
    if not parts:
        _check_classes_called_like_parts(folder, called)
        return Parts(folder, None)
    if len(train) > 1:
        raise InputError(f"{folder} holds {train[0]}/ and {train[1]}/, both with class folders: move one of them away.")
    used = [*train, *tests[:1]]
    unused = tuple(name for name in names if name not in used)
    strange = [name for name in unused if called[name] not in (*TEST_NAMES, *OTHER_NAMES)]
    if len(used) < 2 and strange:
        raise InputError(
            f"{folder} holds {used[0]}/ with class folders in it ({_listed(folders_in(folder / used[0]))}) and {_listed(strange)}"
            f": expected {SPLIT_LAYOUT}, or one folder of images for each class."
        )
    return Parts(folder / train[0] if train else None, folder / tests[0] if tests else None, unused)


def _check_classes_called_like_parts(folder: Path, called: Mapping[str, str]) -> None:
    """Refuse parts whose images are not sorted into class folders: nobody calls all classes like parts."""
    keys = set(called.values())
    if keys & {*TRAIN_NAMES} and keys & {*TEST_NAMES} and keys <= {*TRAIN_NAMES, *TEST_NAMES, *OTHER_NAMES}:
        raise InputError(
            f"{folder} holds {_listed(list(called))} without class folders in them: expected {SPLIT_LAYOUT}."
        )


def both_parts(path: Path) -> tuple[Path, Path]:
    """The training part and the test part of a folder. Raises ``InputError`` if one of them is missing."""
    parts = find_parts(path)
    if parts.train is None or parts.test is None:
        raise InputError(f"{path} must hold {SPLIT_LAYOUT}; found {_listed(folders_in(path)) or 'no folder'}.")
    return parts.train, parts.test


def find_folder(path: Path) -> FoundDataset:
    """What is in a split folder; classes are the folders of its training part, and ``extra`` the folders of its test part that
    are not classes. Raises ``InputError`` if one of the two is missing or has no class folder.
    """
    train_part, test_part = both_parts(path)
    train, test = read_classes(train_part), read_classes(test_part)
    names, of = tuple(train), {same(name): name for name in test}
    folders = [of.get(same(name), name) for name in names]
    dataset = Dataset(
        path.name, names, _files(train_part, names, train).split(), _files(test_part, folders, test).split()
    )
    extra = tuple(f"{test_part.name}/{name}" for name in sorted(test.keys() - set(folders)))
    return FoundDataset(dataset, str(path), extra, note=find_parts(path).about)


def load_folder(path: Path) -> Dataset:
    """Read a split folder; classes are the folders of its training part.

    Args:
        path: A folder with a training part and a test part.

    Returns:
        Its images as a data set.

    Raises:
        InputError: If a part is missing, a class has no image in one of the parts, or a test folder is not a class.
    """
    found = find_folder(path)
    train, test = both_parts(path)
    dataset = found.dataset
    for part, split in ((train, dataset.train), (test, dataset.test)):
        if empty := [dataset.class_names[label] for label in empty_classes(dataset, split)]:
            others = [name.partition("/")[2] for name in found.extra] if part == test else []
            raise InputError(f"The class {empty[0]!r} has no image in {part}: {why_empty(part, empty[0], others)}.")
    if found.extra:
        raise InputError(f"The class {found.extra[0].partition('/')[2]!r} is in {test} and not in {train}.")
    return dataset


def find_test_folder(path: Path) -> FoundDataset:
    """The test part alone, as a data set without training images, or the class folders of ``path`` itself if it has no test part.
    Raises ``InputError`` if there is no class folder.
    """
    parts = find_parts(path)
    place = parts.test or parts.train or path
    classes = read_classes(place)
    names = tuple(classes)
    return FoundDataset(
        Dataset(path.name, names, EMPTY_SPLIT, _files(place, names, classes).split()), str(place), note=parts.about
    )


def why_empty(part: Path, name: str, others: Iterable[str] = ()) -> str:
    """Why a class has no image, and what to do.

    Args:
        part: The folder of class folders.
        name: The class folder without an image.
        others: Folders next to it that are not classes, of which one may be a misspelling.

    Returns:
        Half a sentence.
    """
    if (near := misspelling(name, others)) is not None:
        return f"it has {near!r}, which is not a class, so give both folders one name"
    if not (part / name).is_dir():
        return "the folder is not there, so add it with images"
    endings = Counter(Path(entry.name).suffix.lower() or "no ending" for entry in walk(part / name))
    if not endings:
        return "its folder is empty, so add images or remove it"
    kinds = ", ".join(kind for kind, _ in endings.most_common(3))
    return f"its folder holds {sum(endings.values())} files ({kinds}) that are not images of a format that is read"


def misspelling(name: str, others: Iterable[str]) -> str | None:
    """The one of other names that is probably the same word, such as *Star* or *stars* for *star*; ``None`` if there is none."""
    word = _word(name)
    words = {_word(other): other for other in others}
    if word in words:
        return words[word]
    close = difflib.get_close_matches(
        word, [other for other in words if _digits(other) == _digits(word)], 1, cutoff=0.85
    )
    return words[close[0]] if close else None


def _word(name: str) -> str:
    return fold(look(name))


def _digits(word: str) -> str:
    """Its digits: *class 1* is not a misspelling of *class 2*."""
    return "".join(letter for letter in word if letter.isdigit())


def _holds_folders_only(folder: Path) -> bool:
    return bool(folders_in(folder)) and not images_in(folder)


def _holds_both(folder: Path) -> bool:
    return bool(folders_in(folder)) and bool(images_in(folder))


def _rank(called: str) -> int:
    return TEST_NAMES.index(called)


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _files(root: Path, folders: Sequence[str], found: Mapping[str, Sequence[Path]]) -> ClassFiles:
    inside = ([str(file.relative_to(root / name)) for file in found.get(name, [])] for name in folders)
    return ClassFiles(root, folders, inside)
