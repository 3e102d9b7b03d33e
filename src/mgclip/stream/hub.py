"""Data sets from the Hugging Face hub, or from a folder of the same parquet files: memory-mapped, decoded an image at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgclip.errors import InputError
from mgclip.images import AsStored, decode_stored, open_image
from mgclip.stream import metadata
from mgclip.stream.data import Dataset, Split, Subset
from mgclip.stream.layout import EMPTY_SPLIT


@dataclass(frozen=True)
class HubSource:
    """Where a data set is on the hub, and what its columns and splits are called there.

    ``by_index``: the hub writes the class names otherwise, in the same order; where it has more classes, ours are the first.
    """

    id: str
    image: str = "image"
    label: str = "label"
    train: str = "train"
    test: str = "test"
    gated: bool = False
    by_index: bool = False


class ColumnImages(Sequence[Any]):
    """The image column of a memory-mapped table, decoded an item at a time: as stored, without orientation tags, which the
    library ``datasets`` would apply.
    """

    def __init__(self, table: Any, column: str) -> None:
        from datasets import Image

        self.table, self.column = table.select_columns([column]).cast_column(column, Image(decode=False)), column

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        stored = self.table[int(index)][self.column]
        if stored["bytes"] is None:
            return open_image(AsStored(stored["path"]))
        return decode_stored(stored["bytes"], f"{stored['path'] or 'without a name'} (row {int(index)})")


def parquet_files(place: Path, hub: HubSource, *, test_only: bool) -> dict[str, list[str]] | None:
    """The parquet files of each split in a folder or in the folders inside it; ``None`` where a split has none."""
    files = sorted([*place.glob("*.parquet"), *place.glob("*/*.parquet")])
    splits = [hub.test] if test_only else [hub.train, hub.test]
    parts = {split: [str(file) for file in files if file.name.startswith(split)] for split in splits}
    return parts if all(parts.values()) else None


def load_hub(
    name: str,
    hub: HubSource,
    class_names: Sequence[str] | None,
    *,
    parquet: dict[str, list[str]] | None,
    test_only: bool,
) -> Dataset:
    """A data set from the hub, or from ``parquet``, the files of each split. Labels become positions in ``class_names``,
    or keep the hub's names where ``None`` is given; images of other classes are left out.

    Raises ``InputError`` where it cannot be had, or names other classes.
    """
    source = hub.id if parquet is None else str(Path(next(iter(parquet.values()))[0]).parent)
    try:
        tables = _tables(hub, parquet, test_only)
        theirs = [str(each) for each in tables[hub.test].features[hub.label].names]
        labels = {
            split: np.asarray(table.with_format("numpy")[hub.label][:], np.int64) for split, table in tables.items()
        }
        images = {split: ColumnImages(table, hub.image) for split, table in tables.items()}
    except Exception as error:  # network, cache and format errors of many libraries, all meaning "cannot be had"
        raise InputError(
            f"{name} cannot be loaded from {source} ({_reason(error)}): {_advice(hub, parquet)}."
        ) from error
    names = tuple(theirs if class_names is None else class_names)
    ours = _positions(theirs, names, hub, source)
    splits = {split: _split(name, split, images[split], labels[split], ours) for split in tables}
    return Dataset(name, names, splits.get(hub.train, EMPTY_SPLIT), splits[hub.test])


def _tables(hub: HubSource, parquet: dict[str, list[str]] | None, test_only: bool) -> dict[str, Any]:
    from datasets import load_dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    if parquet is not None:
        tables = load_dataset("parquet", data_files=parquet)
    elif test_only:  # the files of one split alone: ImageNet's train part is 20 times its test part
        files = {hub.test: f"**/{hub.test}*.parquet"}
        tables = load_dataset(hub.id, data_files=files, verification_mode="no_checks")
    else:
        tables = load_dataset(hub.id)
    return {split: tables[split] for split in ([hub.test] if test_only else [hub.train, hub.test])}


def _positions(theirs: Sequence[str], names: Sequence[str], hub: HubSource, source: str) -> NDArray[np.int64]:
    """The hub's label -> ours, -1 for a class that is not ours. Raises ``InputError`` where the classes are others."""
    ours = np.full(len(theirs), -1, dtype=np.int64)
    if not hub.by_index:
        places = {metadata.fold(each): place for place, each in enumerate(theirs)}
        for label, name in enumerate(names):
            if metadata.fold(name) not in places:
                raise InputError(
                    f"The classes in {source} are others: {name!r} is not among their {len(theirs)} names."
                )
            ours[places[metadata.fold(name)]] = label
        return ours
    # Two names of one class seldom share no word (4 in 100, "rooster" and "cock"), those of two classes nearly always.
    agreeing = sum(not _words(a).isdisjoint(_words(b)) for a, b in zip(theirs, names, strict=False))
    if len(theirs) < len(names) or agreeing < 0.75 * len(names):
        raise InputError(
            f"The classes in {source} are others: {agreeing} of their {len(theirs)} names agree with the {len(names)} expected."
        )
    ours[: len(names)] = np.arange(len(names))
    return ours


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+", name.lower()))


def _split(name: str, part: str, images: ColumnImages, labels: NDArray[np.int64], ours: NDArray[np.int64]) -> Split:
    if len(images) != len(labels) or (len(labels) and not 0 <= labels.min() <= labels.max() < len(ours)):
        raise InputError(f"The {part} part of {name} has an image without a label among its {len(ours)} class names.")
    mapped = ours[labels]
    if (mapped >= 0).all():
        return Split(images, mapped)
    kept = np.flatnonzero(mapped >= 0)
    return Split(Subset(images, kept), mapped[kept])


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _advice(hub: HubSource, parquet: dict[str, list[str]] | None) -> str:
    if parquet is not None:
        return f"expected the columns {hub.image} and {hub.label}, the latter with class names"
    folder = "give the folder where you have it (data_path in a recipe)"
    if hub.gated:
        page = f"https://huggingface.co/datasets/{hub.id}"
        return f"accept its terms at {page} and log in with  hf auth login, or {folder}"
    return f"check the network, or {folder}"
