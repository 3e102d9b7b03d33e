"""CIFAR-100's original Python archive. Its pickles are read by an unpickler that builds arrays and strings only."""

from __future__ import annotations

import codecs
import importlib
import tarfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mgclip.errors import InputError, first_line
from mgclip.stream.data import Dataset, Split
from mgclip.stream.layout import EMPTY_SPLIT, FoundDataset
from mgclip.untrusted import RestrictedUnpickler

ARCHIVE_FOLDER = "cifar-100-python"
ARCHIVE = f"{ARCHIVE_FOLDER}.tar.gz"

MAX_BYTES = 400_000_000
"""Limit for an unpacked part of the archive; the training part has 155 million bytes."""


def find_cifar100(path: Path, test_only: bool) -> FoundDataset | None:
    """Find CIFAR-100 in ``cifar-100-python.tar.gz``, its unpacked folder, or the folder that contains either; None if there is
    neither.

    Class names are spelled as in the data set (``aquarium_fish``). Raises ``InputError`` if it is damaged.
    """
    source = path / ARCHIVE if (path / ARCHIVE).is_file() else path
    if not source.is_file() and not any((folder / "meta").is_file() for folder in (path, path / ARCHIVE_FOLDER)):
        return None
    dataset = _from_archive(source)
    if test_only:
        dataset = Dataset(dataset.name, dataset.class_names, EMPTY_SPLIT, dataset.test)
    return FoundDataset(dataset, str(source))


class _Arrays(RestrictedUnpickler):
    """Reads pickles of containers, strings, numbers and NumPy arrays; it refuses everything that could run code."""

    ALLOWED = ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer")
    HOMES = ("numpy", *(f"numpy.{core}.{part}" for core in ("core", "_core") for part in ("multiarray", "numeric")))

    def find_class(self, module: str, name: str) -> Any:
        if module in self.HOMES and name in self.ALLOWED:
            home = module.replace("numpy.core", "numpy._core") if hasattr(np, "_core") else module
            return getattr(importlib.import_module(home), name)
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        return super().find_class(module, name)


def _from_archive(source: Path) -> Dataset:
    try:
        data = {name: _Arrays(raw, encoding="latin1").load() for name, raw in _members(source).items()}
        names = tuple(str(name) for name in data["meta"]["fine_label_names"])
        splits = {}
        for split in ("train", "test"):
            flat: NDArray[np.uint8] = np.asarray(data[split]["data"], dtype=np.uint8)
            images = flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # [n, 3072] -> [n, 32, 32, 3]
            splits[split] = Split(list(images), np.asarray(data[split]["fine_labels"], dtype=np.int64))
    except Exception as error:  # a damaged pickle can raise anything
        raise InputError(f"{source} is not the CIFAR-100 python archive ({first_line(error)}): download it again.") from error
    return _checked(names, splits)


def _members(source: Path) -> dict[str, bytes]:
    wanted = ("meta", "train", "test")
    if source.is_file():
        with tarfile.open(source) as archive:
            found = {name: archive.extractfile(f"{ARCHIVE_FOLDER}/{name}") for name in wanted}
            return {name: _limited(part) for name, part in found.items() if part is not None}
    folder = source if (source / "meta").is_file() else source / ARCHIVE_FOLDER
    return {name: (folder / name).read_bytes() for name in wanted}


def _limited(part: IO[bytes]) -> bytes:
    """The content of an archive member. Raises ``ValueError`` if it is larger than any part of CIFAR-100."""
    content = part.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"a part of it unpacks to more than {MAX_BYTES} bytes")
    return content


def _checked(names: tuple[str, ...], splits: dict[str, Split]) -> Dataset:
    for split, part in splits.items():
        if len(part.images) != len(part.labels):
            raise InputError(
                f"CIFAR-100's {split} part has {len(part.images)} images and {len(part.labels)} labels: download it again."
            )
        if len(part.labels) and not 0 <= part.labels.min() <= part.labels.max() < len(names):
            raise InputError(f"CIFAR-100's {split} part has a label outside its {len(names)} class names: download it again.")
    return Dataset("cifar100", names, splits["train"], splits["test"])
