"""Labels, class names and class texts as people give them: read if they have one meaning, refused in one sentence if not."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgclip.errors import InputError
from mgclip.names import canonical, is_missing, tidy
from mgclip.words import closest, count


def plain(value: Any) -> Any:
    """A NumPy scalar as the Python value that prints without NumPy's name; anything else unchanged."""
    return value.item() if isinstance(value, np.generic) else value


def name_list(names: Any) -> tuple[str, ...]:
    """Tidy class names from a list of texts or numbers. Raises ``InputError`` if this is not a list, or an item is missing,
    empty, or neither a text nor a number.
    """
    listed = [plain(name) for name in _listed(names, "class_names")]
    for name in listed:
        if is_missing(name) or not isinstance(name, str | numbers.Number | np.bool_) or not str(name).strip():
            raise InputError(f"A class needs a name; found {name!r}.")
    return tuple(tidy(str(name)) for name in listed)


def text_list(texts: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """What prompts call each class.

    Args:
        texts: A list of texts in the order of ``names``, a mapping from name to text, or ``None``. A class that the mapping
            leaves out is called by its name, and so are all classes if this is ``None``.
        names: The class names.

    Returns:
        One text for each name.

    Raises:
        InputError: If a text is missing or empty, if their number is not that of the names, if a key is not a class name, or
            if a column's index holds the names in another order.
    """
    if texts is None:
        return names
    if isinstance(texts, Mapping):
        return texts_by_name(texts, names, names)
    listed = _listed(texts, "class_texts")
    if len(listed) != len(names):
        raise InputError(f"Each class needs a text: found {len(names)} class_names and {len(listed)} class_texts.")
    _check_column(texts, names)
    return tuple(class_text(text, name) for text, name in zip(listed, names, strict=True))


def _check_column(texts: Any, names: tuple[str, ...]) -> None:
    """Refuse a pandas column whose index holds the class names in another order: it is a list, and looks like a mapping."""
    index = tuple(canonical(str(key)) for key in getattr(texts, "axes", [()])[0])
    order = tuple(map(canonical, names))
    if index != order and sorted(index) == sorted(order):
        raise InputError(
            "class_texts is a column whose index holds the class names in another order: give class_texts.to_dict() if the index "
            "says which text belongs to which class, or class_texts.tolist() if the order does."
        )


def texts_by_name(texts: Mapping[Any, Any], names: tuple[str, ...], known: Collection[str]) -> tuple[str, ...]:
    """What prompts call each class: its text in a mapping from name to text, or its name if the mapping leaves it out. Keys are
    compared as text, because a JSON file has no others.

    Raises ``InputError`` if a key is not among the ``known`` names, if two keys are the same name, or if a text is missing or
    empty.
    """
    texts = {plain(key): text for key, text in texts.items()}
    allowed = {canonical(name): name for name in known}
    keys = Counter(canonical(str(key)) for key in texts)
    if unknown := [key for key in texts if canonical(str(key)) not in allowed]:
        close = closest(str(unknown[0]), allowed.values())
        hint = "correct it or leave it out." if close is None else f"did you mean {close!r}?"
        raise InputError(f"class_texts has the key {unknown[0]!r}, which is not a class name: {hint}")
    if twice := [key for key, count in keys.items() if count > 1]:
        raise InputError(f"class_texts has two keys for the class {twice[0]!r}: keep one of them.")
    given = {canonical(str(key)): class_text(text, str(key)) for key, text in texts.items()}
    return tuple(given.get(canonical(name), name) for name in names)


def check_same_type(known: NDArray[Any], new: NDArray[Any]) -> None:
    """Check that labels have one type: 1 and 1.0 are one label and two names. Raises ``InputError`` if they do not."""
    kinds = {"O": "U", "u": "i"}  # texts and whole numbers, in any form
    first, now = (kinds.get(labels.dtype.kind, labels.dtype.kind) for labels in (known, new))
    if len(known) and first != now:
        raise InputError(
            f"All labels must have the same type: {plain(known[0])!r} was learned before, now found {plain(new[0])!r}: convert "
            "the new labels."
        )


def positions(labels: Any, names: tuple[str, ...]) -> Tensor:
    """Positions ``(n,)`` in the class names, from names or positions. Labels are read as names if each of them is a name.

    Raises ``InputError`` if a label is missing or fits no name, or if whole numbers are names and positions of different
    classes.
    """
    array = _flat(labels)
    if array.dtype.kind == "O":
        values, inverse = array, np.arange(len(array))
    else:
        values, inverse = np.unique(array, return_inverse=True)
    for number, value in enumerate(values):
        if is_missing(value):
            raise InputError(f"labels[{int(np.argmax(inverse == number))}] is missing ({value}): give every image a label.")
    place = {canonical(name): position for position, name in enumerate(names)}
    named = [place.get(canonical(str(value))) for value in values]
    whole = all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in values)
    placed = [int(value) for value in values] if whole and all(0 <= value < len(names) for value in values) else None
    if None in named:
        if placed is None:
            raise _unknown(values, named, names, whole=whole)
        found = placed
    else:
        found = [position for position in named if position is not None]
        if placed is not None and placed != found:
            value, other = next(pair for pair in zip(placed, found, strict=True) if pair[0] != pair[1])
            raise InputError(
                f"Whole-number labels are ambiguous here: {value} is a name (at position {other} in class_names) and also "
                f"the position of {names[value]!r}; give names as text, such as {names[value]!r}."
            )
    return torch.tensor(found, dtype=torch.long)[torch.from_numpy(inverse.reshape(-1))]


def _unknown(values: Iterable[Any], named: list[int | None], names: tuple[str, ...], *, whole: bool) -> InputError:
    """What is wrong with labels that are neither all names nor all positions."""
    if whole:
        wrong = next(int(value) for value in values if not 0 <= value < len(names))
        return InputError(
            f"The label {wrong} is not a position in class_names, which holds {len(names)} (0 to {len(names) - 1}), and not "
            "every label is one of its names."
        )
    first = plain(next(value for value, position in zip(values, named, strict=True) if position is None))
    if isinstance(first, str):
        return InputError(f"The label {first!r} is not in class_names, which holds {count(len(names), 'name')}.")
    return InputError(f"labels must be whole numbers or class names; found {type(first).__name__} {first!r}.")


def _flat(labels: Any) -> NDArray[Any]:
    """Labels as a flat array. A list becomes one of objects, as NumPy would make the text 'nan' of a missing label."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    if hasattr(labels, "__array__"):
        array = np.asarray(labels)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
    else:
        listed = [item.item() if isinstance(item, Tensor) and item.ndim == 0 else item for item in _listed(labels, "labels")]
        array = np.empty(len(listed), dtype=object)
        for place, item in enumerate(listed):
            array[place] = item
    if array.ndim != 1:
        raise InputError(f"labels must be a flat list, one per image; found an array of shape {array.shape}.")
    return array


def _listed(values: Any, what: str) -> list[Any]:
    """The items of a list, an array, a column or a generator, in order."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    flat = getattr(values, "ndim", 1) == 1
    if not flat or isinstance(values, str | bytes | Mapping | set | frozenset) or not isinstance(values, Iterable):
        raise InputError(f"{what} must be a list; found {type(values).__name__}.")
    return list(values)


def class_text(text: Any, name: str) -> str:
    """The text of a class, what prompts call it. Raises ``InputError`` if it is not a text with words."""
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"The text of the class {name!r} must be words for a prompt; found {text!r}.")
    return str(text)
