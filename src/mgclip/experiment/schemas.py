"""The files in a run's folder: what each contains, as types that its writer fills and that are checked when it is read."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import NotRequired, TypedDict  # pydantic reads typing's own only from Python 3.12 on

from mgclip import untrusted
from mgclip.clip.representation import Representation
from mgclip.errors import InputError
from mgclip.stream.fingerprint import DataTask
from mgclip.stream.unreadable import Skipped
from mgclip.validation import problems

Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
NotEmpty = Field(min_length=1)

FORMAT = 2
"""Number of the format of a run's files. It is increased when an older version cannot read them any more."""

NEXT = 4
"""Classes that are kept after the answer, so that there are the five best ones."""


class Setup(BaseModel):
    """``recipe.yaml``: every setting, of which the report needs these.

    Less strict than the runner's ``Recipe``, so that runs of other versions can be reported.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    methods: Annotated[tuple[Annotated[str, Field(pattern="^[a-z0-9-]+$")], ...], NotEmpty]
    clip: str
    data: str
    data_path: str | None = None
    filter: str = "none"
    datasets: tuple[dict[str, Any], ...] = ()
    task_known: bool = False
    initial_classes: Count
    classes_per_task: Count
    tasks: Count | None
    seed: Count
    alpha: Number | None
    imbalance: Number = 1
    blurry: Number = 0


class GapRecord(TypedDict):
    """Mean logits of matching and of other pairs; None with a single class."""

    positive: Number | None
    negative: Number | None


class ProbeRecord(TypedDict):
    """The gap before the first epoch and after each one, and the epochs that alpha allows."""

    positive: Annotated[list[Number], NotEmpty]
    negative: Annotated[list[Number], NotEmpty]
    epochs: Count


class Seconds(TypedDict):
    """How long a task took."""

    learn: Number
    evaluate: Number


class SkippedImage(TypedDict):
    """An unreadable image that a task was trained or tested without."""

    image: str
    reason: str


class Shots(TypedDict):
    """Mean accuracy of the classes with many (more than 100), medium (20 to 100) and few training images; None without any."""

    many: Share | None
    medium: Share | None
    few: Share | None


class Measured(TypedDict):
    """The measurements after a task, and the images that were skipped in it. Accuracies are shares of 1.

    ``returning_images``: how many of the training images are of earlier classes, in a blurry stream; ``shots``: with a long tail.
    ``domain``: in a stream of several data sets, the one of the task; ``accuracy_per_domain``: the accuracy on each of them,
    learned or not.
    """

    task: Count
    classes: list[str]
    classes_seen: Annotated[int, Field(ge=1)]
    train_images: NotRequired[Count]
    returning_images: NotRequired[Count]
    test_images: Count
    accuracy: Share
    accuracy_per_task: Annotated[list[Share], NotEmpty]
    next_task_text_accuracy: NotRequired[Share | None]
    gap: GapRecord
    shots: NotRequired[Shots]
    domain: NotRequired[str]
    accuracy_per_domain: NotRequired[dict[str, Share]]
    skipped: NotRequired[list[SkippedImage]]


class AdapterDecision(TypedDict):
    """What was decided about the adapters before a task.

    ``kept``: whether they continue to learn; ``images``: how many were compared so far; ``deviations``: by how many standard
    errors the adapters lower the error.
    """

    kept: bool
    images: Count
    deviations: Number


class Trained(TypedDict):
    """How a task was trained: the epochs of the adapters, the probe if there was one, what was decided about the adapters; and
    the precision of the image tower if it was chosen by measuring.
    """

    epochs: Count
    precision: NotRequired[str]
    probe: NotRequired[ProbeRecord]
    adapters: NotRequired[AdapterDecision]
    representation: NotRequired[Representation]


class Record(Measured, Trained):
    """One finished task: a line of ``records.jsonl``."""

    method: NotRequired[str]
    seconds: Seconds


class Retained(TypedDict):
    """Zero-shot accuracy on a data set never trained on: now, of the pre-trained CLIP, and the drop between them."""

    accuracy: Number
    untuned: Number
    drop: Number


@with_config(ConfigDict(extra="allow"))
class Summary(TypedDict):
    """The metrics of a method's finished run, as shares of 1: ``summary.json``.

    Only a stream of several data sets has ``transfer``, ``domain_average`` and ``domain_last``; None if not measured yet.
    """

    tasks: Count
    classes: NotRequired[Count]
    epochs: Count
    last: Share
    average: Share
    forgetting: Number | None
    backward_transfer: Number | None
    forward_transfer: Number | None
    many: NotRequired[Share | None]
    medium: NotRequired[Share | None]
    few: NotRequired[Share | None]
    old: NotRequired[Share | None]
    new: NotRequired[Share | None]
    transfer: NotRequired[Number | None]
    domain_average: NotRequired[Number | None]
    domain_last: NotRequired[Number | None]
    accuracy_after: Annotated[list[Share], NotEmpty]
    seconds: Number
    retention: NotRequired[dict[str, Retained]]


class Ending(TypedDict):
    """The part of ``summary.json`` that does not follow from the records."""

    retention: NotRequired[dict[str, Retained]]


class ClassCount(TypedDict):
    """Test images of a class after the last task, how many were recognised, how often the class was predicted, and the shares;
    ``train``: its training images.
    """

    name: str
    task: Count
    train: NotRequired[Count]
    images: Count
    right: Count
    predicted: NotRequired[Count]
    recall: NotRequired[Share | None]
    precision: NotRequired[Share | None]


class Confusion(TypedDict):
    """How many images of one class were predicted as another."""

    truth: str
    predicted: str
    count: Count


class Example(TypedDict):
    """A test image, in a file relative to the method's folder, and its prediction."""

    file: str
    truth: str
    predicted: str
    probability: Number
    right: bool


class Final(TypedDict, total=False):
    """The last evaluation of a method: ``final.json``."""

    classes: list[ClassCount]
    confused: list[Confusion]
    examples: list[Example]


@with_config(ConfigDict(extra="allow"))
class Environment(TypedDict, total=False):
    """What a run depends on in addition to its recipe: ``environment.json``.

    ``methods``: a digest of each method of another package. ``changed``: what was different when the run was resumed.
    """

    format: int
    python: str
    platform: str
    threads: int
    device: str
    packages: dict[str, str]
    methods: dict[str, str]
    changed: list[str]


Data = dict[str, DataTask]
"""``data.json``: a digest of each task's data."""
SkippedList = list[Skipped]
"""``skipped.json``: the images that the run leaves out."""

Kind = TypeVar("Kind")


def read_run_file(kind: type[Kind], file: Path) -> Kind | None:
    """The content of a JSON file as one of the types above; None if there is no file. Raises ``InputError`` if it is damaged."""
    try:
        return checked(kind, untrusted.read_json(file), str(file))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): make it readable.") from None
    except ValueError:
        raise InputError(f"{file} is not JSON: restore it from a backup.") from None


def read_environment(file: Path) -> Environment:
    """The environment in which a run was started; empty if it was not recorded. Raises ``InputError`` if the file is damaged,
    or the run's files have a newer format.
    """
    environment = read_run_file(Environment, file) or {}
    if (number := environment.get("format", 1)) > FORMAT:
        raise InputError(
            f"{file.parent} has files of format {number}; this version reads formats up to {FORMAT}: upgrade mg-clip."
        )
    return environment


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)  # building one takes longer than reading a file with it


def checked(kind: type[Kind], value: object, source: str) -> Kind:
    """A value as one of the types above. Raises ``InputError``, which names ``source`` and the first problem."""
    # Through bytes: a file name that is not UTF-8 becomes a lone surrogate in JSON, which pydantic rejects.
    text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")
    try:
        result: Kind = _adapter(kind).validate_json(text)  # type: ignore[arg-type]  # mypy: a type is not hashable
        return result
    except ValidationError as error:
        raise InputError(f"{source} is damaged ({problems(error)[0]}): restore it from a backup.") from None
