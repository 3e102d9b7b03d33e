"""What stands in the files of a run's folder, checked while it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from mgclip import untrusted
from mgclip.errors import InputError
from mgclip.stream.skipped import Skipped

Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


FORMAT = 1
"""Number of the formats of a run's files; raised when they change so that an older version cannot read them."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Setup(BaseModel):
    """A run's ``recipe.yaml``: every setting, of which the report itself needs these.

    It is read more gently than by the runner, which goes on only with settings of its own version: runs of others can be shown.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    methods: Annotated[tuple[Annotated[str, Field(pattern="^[a-z0-9-]+$")], ...], Field(min_length=1)]
    clip: str
    data: str
    initial_classes: Count
    classes_per_task: Count
    tasks: Count | None
    seed: Count
    alpha: Number | None


class Gap(_Part):
    """Mean logits of matching and of other pairs; None where there is one class only."""

    positive: Number | None
    negative: Number | None


class Probe(_Part):
    """The gap before the first epoch and after each one, and the epochs that were allowed."""

    positive: Annotated[tuple[Number, ...], Field(min_length=1)]
    negative: Annotated[tuple[Number, ...], Field(min_length=1)]
    epochs: Count


class Seconds(_Part):
    """How long a task took."""

    learn: Number
    evaluate: Number


class Record(_Part):
    """One finished task; accuracies are shares of 1."""

    task: Count
    classes: tuple[str, ...]
    classes_seen: Annotated[int, Field(ge=1)]
    test_images: Count
    accuracy: Share
    accuracy_per_task: Annotated[tuple[Share, ...], Field(min_length=1)]
    next_task_text_accuracy: Share | None = None
    gap: Gap
    epochs: Count
    probe: Probe | None = None
    seconds: Seconds


class ClassCount(_Part):
    """Test images of a class and how many of them were recognised, after the last task."""

    name: str
    task: Count
    images: Count
    right: Count


class Pair(_Part):
    """How many images of one class were taken for another."""

    truth: str
    predicted: str
    count: Count


class Example(_Part):
    """A test image, in a file relative to the method's folder, and what it was taken for."""

    file: str
    truth: str
    predicted: str
    probability: Number
    right: bool


class Final(_Part):
    """All of a method's ``final.json``."""

    classes: tuple[ClassCount, ...] = ()
    confused: tuple[Pair, ...] = ()
    examples: tuple[Example, ...] = ()


class Retained(_Part):
    """Zero-shot accuracy lost on one data set never trained on."""

    drop: Number


class Ending(_Part):
    """What only the summary at the end of a method's run holds; the rest of it follows from the records."""

    retention: dict[str, Retained] = Field(default_factory=dict)


class Summary(_Part):
    """The metrics of a method's finished run, as shares of 1."""

    model_config = ConfigDict(frozen=True, extra="allow")

    tasks: Count
    epochs: Count
    last: Share
    average: Share
    forgetting: Number | None
    backward_transfer: Number | None
    forward_transfer: Number | None
    accuracy_after: Annotated[tuple[Share, ...], Field(min_length=1)]
    seconds: Number


class Summaries(RootModel[dict[str, Summary]]):
    """The summaries of all methods of a finished run."""


class DataPart(_Part):
    """The images of one part of a task, in short."""

    images: Count
    digest: str


class DataTask(_Part):
    """What one task of a stream is made of."""

    classes: tuple[str, ...]
    train: DataPart
    test: DataPart


class Data(RootModel[dict[str, DataTask]]):
    """All of ``data.json``, by task."""


class SkippedList(RootModel[tuple[Skipped, ...]]):
    """All of ``skipped.json``."""


class Environment(_Part):
    """What of ``environment.json`` is relied on: the number of the formats a run's files have."""

    model_config = ConfigDict(frozen=True, extra="allow")

    format: int = FORMAT


Kind = TypeVar("Kind", bound=BaseModel)


def read_json(file: Path) -> Any:
    """What a JSON file holds; None where there is no file."""
    try:
        return untrusted.read_json(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        raise InputError(f"{file} is not JSON: restore the file from a copy.") from None


def check_format(file: Path) -> dict[str, Any]:
    """The environment a run was begun in; empty where none is there.

    Raises ``InputError`` where it is damaged, or the run's files have the formats of a newer version.
    """
    if (found := read_json(file)) is None and not file.is_file():
        return {}
    environment = checked(Environment, found, str(file))
    if environment.format > FORMAT:
        raise InputError(
            f"{file.parent} has files of format {environment.format}; this version reads format {FORMAT}: upgrade mg-clip."
        )
    return environment.model_dump()


def checked(kind: type[Kind], value: Any, source: str) -> Kind:
    """A value as what it should be. Raises ``InputError`` naming its source and the first thing that is wrong."""
    # Through bytes, because a file name that is not UTF-8 reaches JSON as half a character, which pydantic refuses.
    text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "all of it"
        raise InputError(
            f"{source} is not what a run writes ({place}: {problem['msg']}): restore the file from a copy."
        ) from None
