"""Class orders: the order in which a stream presents its classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

import numpy as np
import yaml

from mgclip.errors import InputError


@lru_cache(maxsize=1)
def published_orders() -> dict[str, list[int]]:
    """The class orders of the published experiments, by data set."""
    text = (files("mgclip") / "stream" / "metadata" / "class_orders.yaml").read_text(encoding="utf-8")
    orders: dict[str, list[int]] = yaml.safe_load(text)
    return orders


def class_order(order: str | int | Sequence[int], *, dataset: str, classes: int, seed: int) -> list[int]:
    """The class at each position of a stream.

    Args:
        order: ``dataset``: the data set's own order. ``published``: that of the published experiments. ``shuffled``: a
            permutation from ``seed``. A number: NumPy's legacy permutation with this seed (the field's convention is 1993).
            A list: the order itself.
        dataset: Name of the data set.
        classes: Number of its classes.
        seed: Seed for ``shuffled``.

    Raises:
        InputError: If the order is not a permutation of the classes.
    """
    if order == "dataset":
        return list(range(classes))
    if order == "shuffled":
        return [int(c) for c in np.random.default_rng(seed).permutation(classes)]
    if order == "published":
        found = published_orders().get(dataset.replace("-", "_"))
        if found is None:
            known = ", ".join(name.replace("_", "-") for name in published_orders())
            raise InputError(f"No class order was published for {dataset}: there are orders for {known}.")
        order = found
    if isinstance(order, str):
        raise InputError(f"class_order must be dataset, published, shuffled, a number or a list; found {order}.")
    if isinstance(order, int) and not 0 <= order < 2**32:
        raise InputError(f"A class_order given as a number must be from 0 to {2**32 - 1}; found {order}.")
    if isinstance(order, int):
        return [int(c) for c in np.random.RandomState(order).permutation(classes)]
    if sorted(order) != list(range(classes)):
        raise InputError(f"class_order must name each class from 0 to {classes - 1} once; found {len(order)} entries.")
    return list(order)
