"""Parquet shards: a column of images, and one with the class names. Those elsewhere are streamed by the library ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from mgclip.errors import InputError
from mgclip.stream.remote import is_address
from mgclip.stream.shard_labels import LABELS, class_name
from mgclip.while_inside import SILENT_DATASETS
from mgclip.words import listed

IMAGES = ("image", "img", "jpg", "png", "jpeg", "webp", "picture", "photo")
"""Columns of bytes that hold the image, if none has the type of images."""

TEXTS = ("string", "large_string", "string_view")
"""Types of columns of text."""

BYTES = ("binary", "large_binary", "binary_view")
"""Types of columns of bytes."""

ROWS = 256
"""Rows read at a time."""


def parquet_items(name: str, label: str) -> Iterator[tuple[bytes | str, str, str]]:
    """Read the images of a Parquet shard.

    Args:
        name: Its path or address.
        label: The column of the classes; empty finds it.

    Yields:
        The bytes or the path of an image, its class, and its row, such as ``row 12``.

    Raises:
        InputError: If the columns of images and classes cannot be told apart, or an image or a class is missing. If the shard is
            damaged, the libraries raise many other types.
    """
    features = _features(name)
    image, label = _image_column(features, name), _label_column(features, name, label)
    names = getattr(features[label], "names", None)
    number = -1
    for number, row in enumerate(_rows(name, features, [image, label])):
        data = _bytes_or_path(row[image], f"row {number}", name)
        yield data, _class(row[label], names, name, f"row {number}"), f"row {number}"
    if number < 0:
        raise InputError(f"The shard {name} has no image: leave it out.")


def _local(name: str) -> str:
    """The path of a Parquet file on this machine; empty if it is elsewhere."""
    path = name.removeprefix("file://")
    return "" if is_address(path) else path


@contextmanager
def _opened(name: str) -> Iterator[Any]:
    """Open a Parquet file. pyarrow would take some paths for addresses, and refuse those that are not valid UTF-8."""
    import fsspec
    import pyarrow.parquet as pq

    path = _local(name)
    with Path(path).open("rb") if path else fsspec.open(name, "rb") as file:
        yield pq.ParquetFile(file)


def _rows(name: str, features: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, with these columns. Of one elsewhere, a broken connection is opened again."""
    if path := _local(name):
        with _opened(path) as file:
            for batch in file.iter_batches(ROWS, columns=columns):
                yield from batch.to_pylist()
        return
    import datasets

    with SILENT_DATASETS:
        read = datasets.Features({column: features[column] for column in columns})
        rows = datasets.load_dataset(
            "parquet", data_files=[name], split="train", streaming=True, columns=columns, features=read, batch_size=ROWS
        )
        for column in columns:
            if isinstance(features[column], datasets.Image):
                rows = rows.cast_column(column, datasets.Image(decode=False))
        yield from rows


def parquet_places(name: str, label: str) -> Iterator[tuple[int, int, str]]:
    """Index the images of a Parquet shard on this machine.

    Args:
        name: Its path.
        label: The column of the classes; empty finds it.

    Yields:
        The row group of an image, its row in that group, and its class.

    Raises:
        InputError: As ``parquet_items`` does.
    """
    features = _features(name)
    _image_column(features, name)  # an error is due now, not when an image is read
    label = _label_column(features, name, label)
    names = getattr(features[label], "names", None)
    with _opened(name) as file:
        for group in range(file.num_row_groups):
            for row, value in enumerate(file.read_row_group(group, columns=[label])[label].to_pylist()):
                yield group, row, _class(value, names, name, f"row {row} of row group {group}")


def row_image(name: str, group: int, row: int) -> Any:
    """The bytes or the path of an image of a Parquet shard on this machine: its row group, and its row there.

    Raises:
        InputError: If there is no image in this row.
    """
    return _bytes_or_path(_row_group(name, group)[row], f"row {row} of row group {group}", name)


@lru_cache(maxsize=4)
def _row_group(name: str, group: int) -> list[Any]:
    """The images of a row group, as they are stored."""
    column = _image_column_of(name)
    with _opened(name) as file:
        rows: list[Any] = file.read_row_group(group, columns=[column])[column].to_pylist()
    return rows


@lru_cache(maxsize=1024)
def _image_column_of(name: str) -> str:
    return _image_column(_features(name), name)


def forget_row_groups() -> None:
    """Read Parquet shards again when their images are needed, because they may have changed."""
    _row_group.cache_clear()
    _image_column_of.cache_clear()


def _bytes_or_path(stored: Any, row: str, shard: str) -> Any:
    """The bytes of a stored image or, if there are none, its path. Raises ``InputError`` if there is neither.

    Empty bytes next to a path are an image that was not stored completely: the path is then its name only.
    """
    found = stored
    if isinstance(stored, dict):
        path = stored.get("path") or None
        found = path if stored.get("bytes") is None else stored["bytes"] or (b"" if path else None)
    if found is None:
        raise _incomplete(row, shard, "image")
    return found


def _features(name: str) -> Any:
    """The columns of a Parquet file and their types."""
    import pyarrow as pa

    with _opened(name) as file:
        schema = file.schema_arrow
    known = [column for column in schema if _is_known(column)]
    return _types(pa.schema(known, metadata=schema.metadata))


def _types(schema: Any) -> Any:
    """The types of the library ``datasets`` for the columns of a schema."""
    import datasets

    return datasets.Features.from_arrow_schema(schema)


def _is_known(column: Any) -> bool:
    """Whether the library has a type for a column. A column of another type has neither images nor classes, and is not read."""
    import pyarrow as pa

    try:
        _types(pa.schema([column]))
    except (ValueError, TypeError, NotImplementedError):
        return False
    return True


def _class(value: Any, names: list[str] | None, shard: str, row: str) -> str:
    """The class of a row: its text or, if there are ``names``, the one with its number."""
    if names is not None:
        value = names[value] if value is not None and 0 <= value < len(names) else None
    if value is None or not str(value).strip():
        raise _incomplete(row, shard, "class")
    return class_name(str(value), shard, row)


def _incomplete(row: str, shard: str, lacks: str) -> InputError:
    return InputError(f"{row.capitalize()} of the shard {shard} has no {lacks} in its columns: complete it or remove it.")


def _image_column(features: Any, shard: str) -> str:
    """The column of images."""
    import datasets

    found: list[str]
    found = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    found = found or [name for name, feature in features.items() if isinstance(feature, dict) and "bytes" in feature]
    found = found or [name for name in IMAGES if _dtype(features.get(name)) in BYTES]
    if len(found) != 1:
        what = "remove the others" if found else "give it the type Image"
        columns = listed(found or [*features])
        raise InputError(
            f"The shard {shard} must have one column of images; found {len(found)} among the columns {columns}: {what}."
        )
    return found[0]


def _label_column(features: Any, shard: str, label: str) -> str:
    """The column of the classes: the one given, one of texts with a usual name, or the only one of the type ClassLabel.

    A column of texts called *name* is the last choice, because it may be the name of each image.
    """
    import datasets

    if label:
        if label not in features:
            raise InputError(f"The shard {shard} has no column {label!r}; it has {listed([*features])}: choose one with --label.")
        if not (isinstance(features[label], datasets.ClassLabel) or _dtype(features[label]) in TEXTS):
            raise InputError(
                f"The column {label!r} of the shard {shard} has no class names: expected texts, or numbers of the type "
                "ClassLabel."
            )
        return label
    texts = [name for name in LABELS if _dtype(features.get(name)) in TEXTS]
    numbers = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    found = [name for name in texts if name != "name"][:1] or numbers or texts
    if found == ["name"] and (others := [name for name in LABELS if name in features and name != "name"]):
        raise InputError(
            f"The column {others[0]!r} of the shard {shard} has no class names, and its column 'name' may have the name of each "
            "image: choose one with --label."
        )
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"The shard {shard} has several columns of classes ({listed(found)}): choose one with --label.")
    raise InputError(
        f"The shard {shard} has no column of class names among {listed([*features])}: expected texts, or numbers of the type "
        "ClassLabel; --label names the column."
    )


def _dtype(feature: Any) -> str:
    """The type of a column; empty for lists and structures."""
    return str(getattr(feature, "dtype", ""))
