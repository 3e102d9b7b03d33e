"""What is wrong with values that pydantic refuses, in plain sentences; and a model that refuses booleans as numbers."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BaseModel, StringConstraints, ValidationError, ValidationInfo, field_validator

from mgclip.words import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

EXPECTED = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "string_pattern_mismatch": "text that matches {pattern}",
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "dataclass_type", "dataclass_exact_type"), "a mapping"),
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}
"""What a value must be, for each type of error that the models of this package can have."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Text that is not empty."""

UNION_BRANCH = re.compile(r"str|int|float|bool|(literal|list|constrained|function|nullable)\W.*")
"""The parts of a location that are not a key or a position, but a type that a value may have among others."""

SHORT = reprlib.Repr()
"""Shows as much of a value as fits into a sentence."""
SHORT.maxstring = SHORT.maxother = 200


class TrueNumbers(BaseModel):
    """A model that refuses true and false where it needs a number: Python, and with it pydantic, counts them as 1 and 0."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any, about: ValidationInfo) -> Any:
        if isinstance(value, bool) and about.field_name and _is_number(cls.model_fields[about.field_name].annotation):
            raise ValueError("must be a number")
        return value


def _is_number(annotation: Any) -> bool:
    """Whether a type is one of numbers, or has one among its alternatives and no boolean."""
    kinds = {annotation, *(kind for part in get_args(annotation) for kind in (part, *get_args(part)))}
    return bool(kinds & {int, float}) and bool not in kinds


def problems(error: ValidationError, known: Iterable[str] = ()) -> list[str]:
    """What is wrong, one clause for each wrong value: ``rank must be at least 1; found 0``.

    Args:
        error: The error.
        known: All valid keys, to suggest one of them for an unknown key.
    """
    found: dict[str, list[ErrorDetails]] = {}
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"] if not UNION_BRANCH.fullmatch(str(part)))
        found.setdefault(place, []).append(problem)
    return [_clause(place, problems, list(known)) for place, problems in found.items()]


def _clause(place: str, found: Sequence[ErrorDetails], known: Sequence[str]) -> str:
    """What is wrong with one value. There are several errors if it may have one of several types."""
    if found[0]["type"] == "extra_forbidden":
        return f"there is no key {place}{nearest(place, known) if known else ''}"
    if found[0]["type"] == "missing":
        return f"{place} is missing"
    first, *others = dict.fromkeys(map(_message, found))
    message = " or ".join([first, *(other.removeprefix("must be ") for other in others)])
    if not message.startswith("must "):
        return f"{place}: {message}" if place else message
    end = "" if "; found " in message else f"; found {SHORT.repr(found[0]['input'])}"
    return f"{place or 'the content'} {message}{end}"


def _message(problem: ErrorDetails) -> str:
    """The message of one error: our own, or what a validator of a model raised."""
    if problem["type"] in EXPECTED:
        return f"must be {EXPECTED[problem['type']]}".format_map(
            {
                name: int(limit) if isinstance(limit, float) and limit.is_integer() else limit
                for name, limit in problem.get("ctx", {}).items()
            }
        )
    return problem["msg"].removeprefix("Value error, ")
