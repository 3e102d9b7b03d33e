"""Raw results of a method, as Parquet files in its folder: predictions of every image, the loss of every step, the gap.

Each task has one file of each kind, written atomically before the record of the task. A task that is learned again after a crash
replaces its files. ``pandas.read_parquet`` reads one file, or the folder with those of all tasks.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mgclip.disk import replace_file
from mgclip.errors import InputError, first_line
from mgclip.experiment.schemas import NEXT, Record
from mgclip.stream.files import image_group, image_id
from mgclip.stream.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

    from mgclip.experiment.branch_answers import BranchAnswers
    from mgclip.method.training import Step
    from mgclip.saving.checkpoints import TaskCheckpoints

Kind = Literal["predictions", "steps", "gaps"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The kinds of raw results, and the names of their folders."""

STEPS = "steps"
"""The entry of a checkpoint with the steps of the task so far, so that a resumed task has all of them."""
STEP_COLUMNS = ("phase", "epoch", "step", "images", "loss")
"""What is kept of a step."""

COLUMNS: Mapping[Kind, set[str]] = {
    "predictions": {"task", "image", "class", "answer", "right", "text_answer"},
    "steps": {"task", "phase", "epoch", "loss"},
    "gaps": {"task", "epoch", "images", "positive", "negative"},
}
"""Columns that are needed to read a file."""
NEXT_ANSWERS = tuple(f"answer_{place}" for place in range(2, 2 + NEXT))
"""Columns of the classes after the answer, the most probable first."""
CLASSES = ("class", "answer", "text_answer", "head_answer", *NEXT_ANSWERS)
"""Columns of class names. They share one dictionary, so that pandas compares them as categories."""
TEXT = {*CLASSES, "group", "phase"}
"""Columns of few different texts, each of which is stored once."""


def write_task(
    folder: Path, stream: Sequence[Task], record: Record, answers: BranchAnswers, steps: Sequence[Sequence[Any]]
) -> None:
    """Write the raw results of a task into the folder of its method.

    Args:
        folder: The folder of the method.
        stream: All tasks.
        record: The record of the task.
        answers: The predictions for the test images of all tasks so far.
        steps: The optimizer steps of the task, as ``remember_step`` keeps them.
    """
    task = record["task"]
    names = [name for each in stream for name in each.names]
    _write(folder, "predictions", task, _predictions(task, stream[: task + 1], np.array(names, dtype=object), answers))
    columns = {name: [step[place] for step in steps] for place, name in enumerate(STEP_COLUMNS)}
    _write(folder, "steps", task, {"task": [task] * len(steps), **columns})
    _write(folder, "gaps", task, _gaps(record))


def remember_step(checkpoints: TaskCheckpoints, step: Step) -> int:
    """Keep a step of the current task, which is saved with the checkpoints of the task. Returns its number in the task."""
    steps: list[Any] = checkpoints.notes.setdefault(STEPS, [])
    steps.append([step.phase, step.epoch, step.step, step.images, step.loss])
    return len(steps)


def steps_of(checkpoints: TaskCheckpoints) -> list[Sequence[Any]]:
    """The steps of the current task so far."""
    return list(checkpoints.notes.get(STEPS, []))


def drop_from(folder: Path, task: int) -> None:
    """Remove the raw results of a task and of later ones, which the saved model has not learned."""
    for kind in KINDS:
        for file in (folder / kind).glob("task-*.parquet"):
            if file.name >= _name(task):
                file.unlink()


def read(folder: Path, kind: Kind, tasks: int) -> pd.DataFrame | None:
    """The raw results of the first tasks of a method as one table.

    Args:
        folder: The folder of the method.
        kind: The kind of results.
        tasks: The number of tasks.

    Returns:
        The table; None if the results of a task were not recorded.

    Raises:
        InputError: If a file is damaged.
    """
    parts = [read_task(folder, kind, task) for task in range(tasks)]
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    import pandas as pd

    # An empty part has no types of its own: depending on its version, pandas warns or makes every column one of objects.
    return pd.concat([part for part in known if len(part)] or known[:1], ignore_index=True)


def read_task(folder: Path, kind: Kind, task: int) -> pd.DataFrame | None:
    """The raw results of one task of a method.

    Args:
        folder: The folder of the method.
        kind: The kind of results.
        task: The index of the task.

    Returns:
        The table; None if they were not recorded.

    Raises:
        InputError: If the file is damaged.
    """
    file = folder / kind / _name(task)
    if not file.is_file():
        return None
    import pandas as pd

    try:
        found = pd.read_parquet(file)
    except Exception as error:  # pyarrow has errors of its own for each way in which a file can be damaged
        raise InputError(f"{file} cannot be read ({first_line(error)}): restore it from a backup.") from None
    if missing := sorted(COLUMNS[kind] - set(found.columns)):
        raise InputError(f"{file} is damaged (it has no column {missing[0]}): restore it from a backup.")
    return found.astype(dict.fromkeys(TEXT & set(found.columns), "string"))


def _name(task: int) -> str:
    return f"task-{task + 1:04}.parquet"


def _predictions(task: int, stream: Sequence[Task], names: NDArray[np.object_], answers: BranchAnswers) -> dict[str, Any]:
    """A row for each test image of all tasks so far; ``names`` are those of all classes that can be an answer."""
    truth = np.concatenate([each.test_labels for each in stream])
    places = [(each.test.images, place) for each in stream for place in range(len(each.test.labels))]
    columns = {
        "task": np.full(len(truth), task),
        "image_task": np.concatenate([np.full(len(each.test.labels), each.index) for each in stream]),
        "image": [image_id(*place) for place in places],
        "class": names[truth],
        "answer": names[answers.labels],
        "right": truth == answers.labels,
        "probability": answers.probabilities,
        "text_answer": names[answers.text_labels],
        "text_probability": answers.text_probabilities,
    }
    if answers.head_labels is not None:
        columns |= {"head_answer": names[answers.head_labels], "head_score": answers.head_scores}
    columns["group"] = [image_group(*place) for place in places]
    with_none = np.array([*names, None], dtype=object)  # a label of -1, where there are fewer classes, becomes None
    for place, name in enumerate(NEXT_ANSWERS):
        columns[name] = with_none[answers.next_labels[:, place]]
        columns[name.replace("answer", "probability")] = answers.next_probabilities[:, place]
    return columns


def _gaps(record: Record) -> dict[str, Any]:
    """The gap over the epochs of the probe, on training images; then that after the task, on test images."""
    probe = record.get("probe")
    values = [] if probe is None else list(zip(probe["positive"], probe["negative"], strict=True))
    rows: list[tuple[int, str, float | None, float | None]] = [(epoch, "train", *pair) for epoch, pair in enumerate(values)]
    rows.append((record["epochs"], "test", record["gap"]["positive"], record["gap"]["negative"]))
    columns = dict(zip(("epoch", "images", "positive", "negative"), zip(*rows, strict=True), strict=True))
    return {"task": [record["task"]] * len(rows), **columns}


def _write(folder: Path, kind: Kind, task: int, columns: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    used = {_text(value) for name in CLASSES for value in columns.get(name, ())}
    names = pa.array(sorted(name for name in used if name is not None), pa.string())
    table = pa.table({name: _array(name, values, names) for name, values in columns.items()})
    pq.write_table(table, buffer, compression="zstd")
    (folder / kind).mkdir(parents=True, exist_ok=True)
    replace_file(folder / kind / _name(task), buffer.getvalue())


def _array(column: str, values: Any, names: Any) -> Any:
    """A column of a file; ``names`` are those in all of its columns of classes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pa.array(map(_text, values), pa.string()) if column in TEXT or column == "image" else pa.array(values)
    if column in CLASSES:
        return pa.DictionaryArray.from_arrays(pc.index_in(texts, names), names)
    return texts.dictionary_encode() if column in TEXT else texts


def _text(value: Any) -> str | None:
    """A text, or None, as Parquet can store it: the name of a file, and so that of a class, need not be UTF-8."""
    return None if value is None else str(value).encode("utf-8", "replace").decode()
