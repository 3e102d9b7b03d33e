"""Read a folder of class folders, or one with a training part and a test part, such as ``train/`` and ``test/``."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mgclip.errors import InputError
from mgclip.image_formats import missing_plugin
from mgclip.missing import not_found
from mgclip.names import canonical, check_distinguishable, tidy, visible_form
from mgclip.stream.data import Dataset
from mgclip.stream.files import ClassFiles, folders_in, images_in
from mgclip.stream.layout import EMPTY_SPLIT, FoundDataset, class_folder, empty_classes
from mgclip.stream.metadata import fold
from mgclip.stream.walk import is_image_name, subfolders, walk
from mgclip.words import count, listed

TRAIN_NAMES = ("train", "training", "trainset", "trainingset", "trainval")
TEST_NAMES = ("test", "testing", "testset", "eval", "evaluation", "val", "valid", "validation", "valset", "dev")
"""Names of the test part, the preferred one first. Case, spaces, hyphens and underscores do not count."""
OTHER_NAMES = ("holdout", "unlabeled", "unlabelled", "unsup", "unsupervised")
"""Names of parts that are neither trained nor tested on."""

SPLIT_LAYOUT = "the folders train/ and test/ (or val/, valid/, validation/ ...), each with one folder of images for each class"


@dataclass(frozen=True)
class Parts:
    """The folders of the training classes and of the test classes, if they exist; and the names of other folders next to them."""

    train: Path | None
    test: Path | None
    unused: tuple[str, ...] = ()

    @property
    def about(self) -> str | None:
        """Which part is tested on and which are not used, if there was a choice."""
        if not self.unused:
            return None
        used = "" if self.test is None else f"{self.test.name}/ is tested on; "
        return f"{used}not used: {', '.join(f'{name}/' for name in self.unused)}"


def image_files(folder: Path) -> list[Path]:
    """The image files below a folder at any depth, by their extensions, sorted; including broken links with the name of an
    image.

    Links are followed; hidden and system folders are skipped. Raises ``InputError`` if a folder cannot be read, or a link is
    broken.
    """
    return sorted(Path(entry.path) for entry in walk(folder) if is_image_name(entry.name))


def read_classes(folder: Path, *, check: bool = True) -> dict[str, list[Path]]:
    """The image files of each class, sorted by name: each folder in a folder is a class, with all images in it at any depth.
    Empty classes are kept.

    Raises ``InputError`` if there is no such folder, it has no class folder, it contains folders of folders, or, unless ``check``
    is false, two names look alike.
    """
    if not folder.is_dir():
        raise not_found("folder", folder)
    names = subfolders(folder)
    if not names:
        raise InputError(f"{folder} has no class folder: expected one folder of images for each class.")
    if all(_holds_folders_only(folder / name) for name in names):
        inside = ", ".join(folders_in(folder / names[0])[:3])
        raise InputError(
            f"{folder} contains folders of folders ({listed(names)}; {names[0]}/ contains {inside}): "
            "expected one folder of images for each class, so use one of these folders."
        )
    if check:
        check_distinguishable(names)
    return {name: image_files(folder / name) for name in names}


def find_parts(folder: Path) -> Parts:
    """Find the parts of a folder. A part contains only folders; a folder *train* with images is a class of that name.

    A folder without parts is the training part itself. Of several test parts, the one that comes first in ``TEST_NAMES`` is
    used. Raises ``InputError`` if there are two training parts, or other folders next to the only part.
    """
    names = folders_in(folder)
    folded = {name: fold(name) for name in names}
    parts = [name for name in names if folded[name] in (*TRAIN_NAMES, *TEST_NAMES) and _holds_folders_only(folder / name)]
    train = [name for name in parts if folded[name] in TRAIN_NAMES]
    tests = sorted(
        (name for name in names if folded[name] in TEST_NAMES),
        key=lambda name: (name not in parts, TEST_NAMES.index(folded[name])),
    )
    mixed = [name for name in names if folded[name] in (*TRAIN_NAMES, *TEST_NAMES) and _holds_both(folder / name)]
    if mixed and len(parts) + len(mixed) > 1:
        raise InputError(
            f"{folder / mixed[0]} contains class folders ({listed(folders_in(folder / mixed[0]))}) and images next to them: "
            "move these images into a class folder, or out of this folder."
        )
    if not parts:
        _check_classes_called_like_parts(folder, folded)
        return Parts(folder, None)
    if len(train) > 1:
        raise InputError(f"{folder} contains {train[0]}/ and {train[1]}/, both with class folders: move one of them away.")
    used = [*train, *tests[:1]]
    unused = tuple(name for name in names if name not in used)
    unexpected = [name for name in unused if folded[name] not in (*TEST_NAMES, *OTHER_NAMES)]
    if len(used) < 2 and unexpected:
        raise InputError(
            f"{folder} contains {used[0]}/ with class folders in it ({listed(folders_in(folder / used[0]))}) and "
            f"{listed(unexpected)}: expected {SPLIT_LAYOUT}, or one folder of images for each class."
        )
    return Parts(folder / train[0] if train else None, folder / tests[0] if tests else None, unused)


def _check_classes_called_like_parts(folder: Path, folded: Mapping[str, str]) -> None:
    """Reject a folder whose classes are all named like parts: these are parts without class folders."""
    keys = set(folded.values())
    if keys & {*TRAIN_NAMES} and keys & {*TEST_NAMES} and keys <= {*TRAIN_NAMES, *TEST_NAMES, *OTHER_NAMES}:
        raise InputError(f"{folder} contains {listed(list(folded))} without class folders in them: expected {SPLIT_LAYOUT}.")


def both_parts(path: Path) -> tuple[Path, Path]:
    """The training part and the test part of a folder. Raises ``InputError`` if one is missing."""
    if not path.is_dir():
        raise not_found("folder", path)
    parts = find_parts(path)
    if parts.train is None or parts.test is None:
        raise InputError(f"{path} must contain {SPLIT_LAYOUT}; found {listed(folders_in(path)) or 'no folder'}.")
    return parts.train, parts.test


def find_folder(path: Path) -> FoundDataset:
    """Find the data set in a folder with both parts, even if classes have no image.

    Its classes are the folders of the training part; ``extra`` are other folders of the test part. Raises ``InputError`` if a
    part is missing or has no class folder.
    """
    train_part, test_part = both_parts(path)
    train, test = read_classes(train_part), read_classes(test_part)
    test_names = {canonical(name): name for name in test}
    folders = [test_names.get(canonical(name), name) for name in train]
    train_files, test_files = _files(train_part, list(train), train), _files(test_part, folders, test)
    dataset = Dataset(path.name, tuple(map(tidy, train)), train_files.split(), test_files.split())
    extra = tuple(f"{test_part.name}/{name}" for name in sorted(test.keys() - set(folders)))
    return FoundDataset(dataset, str(path), extra, note=find_parts(path).about)


def load_folder(path: Path) -> Dataset:
    """Read the data set in a folder with both parts, whose classes are the folders of the training part. Raises ``InputError``
    if a part is missing, a class has no image in one of the parts, or a test folder is not a class.
    """
    found = find_folder(path)
    train, test = both_parts(path)
    dataset = found.dataset
    for part, split in ((train, dataset.train), (test, dataset.test)):
        if empty := empty_classes(dataset, split):
            name, folder = dataset.class_names[empty[0]], Path(class_folder(split, empty[0], "")).name
            others = [name.partition("/")[2] for name in found.extra] if part == test else []
            raise InputError(f"The class {name!r} has no image in {part}: {why_empty(part, folder, others)}.")
    if found.extra:
        raise InputError(
            f"The class {found.extra[0].partition('/')[2]!r} is in {test} and not in {train}: add it to both or to neither."
        )
    return dataset


def find_test_folder(path: Path) -> FoundDataset:
    """Find a data set without training images: the test part of a folder, or the folder itself if it has none. Raises
    ``InputError`` if there is no class folder.
    """
    parts = find_parts(path)
    folder = parts.test or parts.train or path
    classes = read_classes(folder)
    files = _files(folder, list(classes), classes)
    return FoundDataset(Dataset(path.name, tuple(map(tidy, classes)), EMPTY_SPLIT, files.split()), str(folder), note=parts.about)


def why_empty(part: Path, name: str, others: Iterable[str] = ()) -> str:
    """Explain in half a sentence why the class folder ``name`` of a part has no image, and what to do. One of ``others``,
    folders next to it that are not classes, may be a misspelling.
    """
    if (near := misspelling(name, others)) is not None:
        return f"it has {near!r}, which is not a class, so give both folders the same name"
    if not (part / name).is_dir():
        return "the folder does not exist, so add it with images"
    endings = Counter(Path(entry.name).suffix.lower() or "no extension" for entry in walk(part / name))
    if not endings:
        return "its folder is empty, so add images or remove it"
    kinds = ", ".join(kind for kind, _ in endings.most_common(3))
    what = f"its folder contains {count(endings.total(), 'file')} ({kinds}) and no image in a supported format"
    return f"{what}; run {plugin}" if (plugin := missing_plugin(endings)) else what


def misspelling(name: str, others: Iterable[str]) -> str | None:
    """The other name that is probably the same word, such as *Star* or *stars* for *star*; None if there is none."""
    word = _word(name)
    words = {_word(other): other for other in others}
    if word in words:
        return words[word]
    close = difflib.get_close_matches(word, [other for other in words if _digits(other) == _digits(word)], 1, cutoff=0.85)
    return words[close[0]] if close else None


def _word(name: str) -> str:
    return fold(visible_form(name))


def _digits(word: str) -> str:
    """The digits of a name: *class 1* is not a misspelling of *class 2*."""
    return "".join(letter for letter in word if letter.isdigit())


def _holds_folders_only(folder: Path) -> bool:
    return bool(folders_in(folder)) and not images_in(folder)


def _holds_both(folder: Path) -> bool:
    return bool(folders_in(folder)) and bool(images_in(folder))


def _files(root: Path, folders: Sequence[str], found: Mapping[str, Sequence[Path]]) -> ClassFiles:
    inside = ([str(file.relative_to(root / name)) for file in found.get(name, [])] for name in folders)
    return ClassFiles(root, folders, inside)
