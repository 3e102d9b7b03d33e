"""Class orders: the order in which a stream presents its classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml

from mgclip.errors import InputError, first_line
from mgclip.names import canonical
from mgclip.untrusted import parse_yaml
from mgclip.words import ended, nearest

KEYWORDS = ("dataset", "published", "shuffled")
"""Orders that are given by a word."""

Order = str | int | Sequence[int | str]


@lru_cache(maxsize=1)
def published_orders() -> dict[str, list[int]]:
    """The class orders of the published experiments, by data set."""
    text = (files("mgclip") / "stream" / "metadata" / "class_orders.yaml").read_text(encoding="utf-8")
    orders: dict[str, list[int]] = yaml.safe_load(text)
    return orders


def class_order(order: Order, *, dataset: str, names: Sequence[str], seed: int) -> list[int]:
    """The class at each position of a stream.

    Args:
        order: ``dataset``: the data set's own order. ``published``: that of the published experiments. ``shuffled``: a
            permutation from ``seed``. A number: NumPy's legacy permutation with this seed (the field's convention is 1993).
            A list: the order itself, as positions in the data set's own order or as names.
        dataset: Name of the data set.
        names: Names of its classes.
        seed: Seed for ``shuffled``.

    Raises:
        InputError: If the order is not a permutation of the classes.
    """
    classes = len(names)
    if order == "dataset":
        return list(range(classes))
    if order == "shuffled":
        return [int(c) for c in np.random.default_rng(seed).permutation(classes)]
    if order == "published":
        found = published_orders().get(dataset.replace("-", "_"))
        if found is None:
            known = ", ".join(name.replace("_", "-") for name in published_orders())
            raise InputError(
                f"No class order was published for {dataset}: choose dataset, shuffled or a number (orders were published for "
                f"{known})."
            )
        order = list(found)
    if isinstance(order, str):
        raise InputError(f"class_order must be dataset, published, shuffled, a number, a list or a file; found {order}.")
    if isinstance(order, int) and not 0 <= order < 2**32:
        raise InputError(f"A class_order given as a number must be from 0 to {2**32 - 1}; found {order}.")
    if isinstance(order, int):
        return [int(c) for c in np.random.RandomState(order).permutation(classes)]
    positions = _positions(order, names)
    if sorted(positions) != list(range(classes)):
        twice = [str(entry) for entry, number in Counter(order).items() if number > 1]
        found_ones = f"{twice[0]} twice" if twice else f"{len(order)} entries"
        raise InputError(
            f"class_order must name each of the {classes} classes once, by name or by a number from 0 to {classes - 1}; found "
            f"{found_ones}."
        )
    return positions


def read_order(file: Path) -> list[int | str]:
    """The class order in a file: a YAML or JSON list, or one class per line.

    Raises:
        InputError: If the file cannot be read, or contains something else.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        listed = parse_yaml(text) if text.lstrip().startswith(("[", "- ", "#", "---")) else None
    except (OSError, ValueError) as error:
        raise InputError(f"The class order {file} cannot be read ({first_line(error)}): give one class per line.") from None
    entries = listed if isinstance(listed, list) else [line.strip() for line in text.splitlines() if line.strip()]
    if wrong := [entry for entry in entries if isinstance(entry, bool) or not isinstance(entry, int | str)]:
        raise InputError(f"The class order {file} must list names or numbers; found {wrong[0]!r}: put names in quotation marks.")
    return entries


def _positions(order: Sequence[int | str], names: Sequence[str]) -> list[int]:
    """The positions of classes that are given by position or by name."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        places.setdefault(canonical(name), place)
    words = [entry for entry in order if isinstance(entry, str)]
    by_name = all(canonical(word) in places for word in words)
    by_number = all(word.isdecimal() for word in words)
    if words and by_name and by_number and any(places[canonical(word)] != int(word) for word in words):
        raise InputError("class_order consists of numbers that are also names of other classes: give it as a list of positions.")
    if not by_name and not by_number:
        wrong = next(word for word in words if canonical(word) not in places)
        raise InputError(ended(f"class_order names {wrong!r}, which is not a class of the data{nearest(wrong, names)}"))
    return [places[canonical(entry)] if isinstance(entry, str) and by_name else int(entry) for entry in order]
