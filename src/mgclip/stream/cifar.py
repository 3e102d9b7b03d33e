"""CIFAR-100: from the hub, a local parquet folder, or the original python archive."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgclip.errors import InputError
from mgclip.stream.data import Dataset, Split

HUB_ID = "uoft-cs/cifar100"
ARCHIVE_FOLDER = "cifar-100-python"
COUNTS = {"train": 500, "test": 100}
"""Images of each class in the published data."""


def load_cifar100(path: str | Path | None = None) -> Dataset:
    """CIFAR-100 from ``path``: nothing (the hub), a folder of parquet files, ``cifar-100-python.tar.gz``, or its unpacked
    folder. Class names are written as the data set writes them (``aquarium_fish``).

    Raises ``InputError`` where none of these is there, or what is there is damaged.
    """
    if path is None:
        return _from_hub(HUB_ID, {})
    place = Path(path).expanduser()
    if place.is_file() or any((folder / "meta").is_file() for folder in (place, place / ARCHIVE_FOLDER)):
        return _from_archive(place)
    if place.is_dir():
        parts = {split: sorted(map(str, place.rglob(f"{split}*.parquet"))) for split in COUNTS}
        if all(parts.values()):
            return _from_hub("parquet", {"data_files": parts})
    raise InputError(
        f"There is no CIFAR-100 at {place}: expected cifar-100-python.tar.gz, its unpacked folder, or a folder with "
        "train*.parquet and test*.parquet."
    )


class ColumnImages(Sequence[Any]):
    """The image column of a memory-mapped table, decoded an item at a time."""

    def __init__(self, table: Any, column: str) -> None:
        self.table, self.column = table, column

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        return self.table[int(index)][self.column]


def _from_hub(builder: str, options: dict[str, Any]) -> Dataset:
    from datasets import load_dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        parts = load_dataset(builder, **options)
        names = tuple(parts["train"].features["fine_label"].names)
        splits = {}
        for split in COUNTS:
            labels = np.asarray(parts[split].with_format("numpy")["fine_label"][:], dtype=np.int64)
            splits[split] = Split(ColumnImages(parts[split], "img"), labels)
    except Exception as error:  # network, cache and format errors of many libraries, all meaning "cannot be had"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = "check the network, or give data_path" if builder == HUB_ID else "expected columns img and fine_label"
        raise InputError(f"CIFAR-100 cannot be loaded ({reason}): {hint}.") from error
    return _checked(names, splits)


class _PlainUnpickler(pickle.Unpickler):
    """Reads pickles that hold only containers, strings, numbers and NumPy arrays: the archive's, and nothing that runs."""

    ALLOWED = ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer")

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in self.ALLOWED:
            home = module.replace("numpy.core", "numpy._core") if hasattr(np, "_core") else module
            return super().find_class(home, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no plain data")


def _from_archive(place: Path) -> Dataset:
    try:
        data = {
            name: _PlainUnpickler(io.BytesIO(raw), encoding="latin1").load() for name, raw in _members(place).items()
        }
        names = tuple(str(name) for name in data["meta"]["fine_label_names"])
        splits = {}
        for split in COUNTS:
            flat: NDArray[np.uint8] = np.asarray(data[split]["data"], dtype=np.uint8)
            images = flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # [n, 3072] -> [n, 32, 32, 3]
            splits[split] = Split(list(images), np.asarray(data[split]["fine_labels"], dtype=np.int64))
    except Exception as error:  # a damaged pickle raises anything from KeyError to MemoryError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{place} is not the CIFAR-100 python archive ({reason}): fetch it again.") from error
    return _checked(names, splits)


def _members(place: Path) -> dict[str, bytes]:
    wanted = ("meta", "train", "test")
    if place.is_file():
        with tarfile.open(place) as archive:
            found = {name: archive.extractfile(f"{ARCHIVE_FOLDER}/{name}") for name in wanted}
            return {name: part.read() for name, part in found.items() if part is not None}
    folder = place if (place / "meta").is_file() else place / ARCHIVE_FOLDER
    return {name: (folder / name).read_bytes() for name in wanted}


def _checked(names: tuple[str, ...], splits: dict[str, Split]) -> Dataset:
    for split, part in splits.items():
        if len(part.images) != len(part.labels):
            raise InputError(f"CIFAR-100's {split} part has {len(part.images)} images and {len(part.labels)} labels.")
        if len(part.labels) and not 0 <= part.labels.min() <= part.labels.max() < len(names):
            raise InputError(f"CIFAR-100's {split} part has a label outside its {len(names)} class names.")
    return Dataset("cifar100", names, splits["train"], splits["test"])
