"""Data sets from the Hugging Face hub, or from a folder of its parquet files: memory-mapped, each image decoded on access."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgclip.errors import InputError, first_line
from mgclip.images import UnreadableImage, UnrotatedPath, decode_unrotated, open_image
from mgclip.stream import metadata
from mgclip.stream.data import Dataset, Split
from mgclip.stream.layout import EMPTY_SPLIT
from mgclip.while_inside import QUIET_DATASETS


@dataclass(frozen=True)
class HubSource:
    """The place of a data set on the hub, and the names of its columns and splits.

    ``by_index``: the hub spells the class names differently but has the same order; if it has more classes, ours come first.
    ``corrected``: names that the hub misspells, with the published ones.
    """

    id: str
    image: str = "image"
    label: str = "label"
    train: str = "train"
    test: str = "test"
    gated: bool = False
    by_index: bool = False
    corrected: Mapping[str, str] = field(default_factory=dict)


class ColumnImages(Sequence[Any]):
    """The image column of a memory-mapped table, decoded on access.

    Orientation tags are ignored. The library ``datasets`` would apply them.
    """

    def __init__(self, table: Any, column: str) -> None:
        from datasets import Image

        self.table, self.column = table.select_columns([column]).cast_column(column, Image(decode=False)), column

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        stored = self.table[int(index)][self.column] or {"bytes": None, "path": None}
        if stored["bytes"] is None and not stored["path"]:
            raise UnreadableImage(f"of row {int(index)}", "it is empty")
        if stored["bytes"] is None:
            return open_image(UnrotatedPath(stored["path"]))
        return decode_unrotated(stored["bytes"], f"{stored['path'] or 'without a name'} (row {int(index)})")


def parquet_files(folder: Path, hub: HubSource, *, test_only: bool) -> dict[str, list[str]] | None:
    """The parquet files of each split in a folder or its direct subfolders; None if a split has none."""
    files = sorted([*folder.glob("*.parquet"), *folder.glob("*/*.parquet")])
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
    """Load a data set from the hub, or from the parquet files of each split. Images of other classes than ``class_names`` are
    left out; None stands for the classes of the hub. Raises ``InputError`` if it cannot be loaded, or has other classes.
    """
    source = hub.id if parquet is None else str(Path(next(iter(parquet.values()))[0]).parent)
    try:
        tables = _tables(hub, parquet, test_only)
        theirs = [hub.corrected.get(each, str(each)) for each in tables[hub.test].features[hub.label].names]
        labels = {split: np.asarray(table.with_format("numpy")[hub.label][:], np.int64) for split, table in tables.items()}
        images = {split: ColumnImages(table, hub.image) for split, table in tables.items()}
    except Exception as error:  # many libraries raise network, cache and format errors of their own
        raise InputError(f"{name} cannot be loaded from {source} ({first_line(error)}): {_advice(hub, parquet)}.") from error
    names = tuple(theirs if class_names is None else class_names)
    ours = _positions(theirs, names, hub, source)
    splits = {split: _split(name, split, images[split], labels[split], ours) for split in tables}
    return Dataset(name, names, splits.get(hub.train, EMPTY_SPLIT), splits[hub.test])


def _tables(hub: HubSource, parquet: dict[str, list[str]] | None, test_only: bool) -> dict[str, Any]:
    from datasets import load_dataset

    with QUIET_DATASETS:
        if parquet is not None:
            # The library takes a path for a pattern: it would read 0.parquet for [01].parquet.
            escaped = {split: [glob.escape(file) for file in files] for split, files in parquet.items()}
            tables = load_dataset("parquet", data_files=escaped)
        elif test_only:  # the files of one split: ImageNet's training part is 20 times its test part
            files = {hub.test: f"**/{hub.test}*.parquet"}
            tables = load_dataset(hub.id, data_files=files, verification_mode="no_checks")
        else:
            tables = load_dataset(hub.id)
    return {split: tables[split] for split in ([hub.test] if test_only else [hub.train, hub.test])}


def _positions(theirs: Sequence[str], names: Sequence[str], hub: HubSource, source: str) -> NDArray[np.int64]:
    """Our label for each label of the hub, -1 for other classes. Raises ``InputError`` if the classes do not match."""
    ours = np.full(len(theirs), -1, dtype=np.int64)
    if not hub.by_index:
        positions = {metadata.fold(each): position for position, each in enumerate(theirs)}
        for label, name in enumerate(names):
            if metadata.fold(name) not in positions:
                raise InputError(
                    f"The class names in {source} do not match: {name!r} is missing; give a copy of the published data set."
                )
            ours[positions[metadata.fold(name)]] = label
        return ours
    # Two names of one class nearly always share a word (96 in 100; not "rooster" and "cock"), names of two classes seldom do.
    agreeing = sum(not _words(a).isdisjoint(_words(b)) for a, b in zip(theirs, names, strict=False))
    if len(theirs) < len(names) or agreeing < 0.75 * len(names):
        raise InputError(
            f"The class names in {source} do not match: {agreeing} of their {len(theirs)} agree with the {len(names)} expected; "
            "give a copy of the published data set."
        )
    ours[: len(names)] = np.arange(len(names))
    return ours


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+", name.lower()))


def _split(name: str, part: str, images: ColumnImages, labels: NDArray[np.int64], ours: NDArray[np.int64]) -> Split:
    if len(images) != len(labels) or (len(labels) and not 0 <= labels.min() <= labels.max() < len(ours)):
        raise InputError(
            f"The {part} part of {name} has an image without a label among its {len(ours)} class names: download it again."
        )
    split = Split(images, ours[labels])
    return split if (split.labels >= 0).all() else split.take(np.flatnonzero(split.labels >= 0))


def _advice(hub: HubSource, parquet: dict[str, list[str]] | None) -> str:
    if parquet is not None:
        return f"expected the columns {hub.image} and {hub.label}, the latter with class names"
    folder = "give the folder where you have it (data_path in a recipe)"
    if hub.gated:
        page = f"https://huggingface.co/datasets/{hub.id}"
        return f"accept its terms at {page} and log in with `hf auth login`, or {folder}"
    return f"check the network, or {folder}"
