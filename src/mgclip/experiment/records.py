"""A run's records on disk: the resolved recipe, the environment, one JSON line per task, a summary at the end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mgclip.disk import fresh_name, write_json, write_text
from mgclip.environment import installed_versions
from mgclip.errors import InputError
from mgclip.experiment import metrics
from mgclip.experiment.recipe import Recipe, build_recipe, meaning, read_yaml
from mgclip.experiment.run_files import (
    FORMAT,
    Data,
    Record,
    SkippedList,
    Summaries,
    Summary,
    check_format,
    checked,
    read_json,
)
from mgclip.method.baselines.settings import PeerSettings
from mgclip.method.settings import COMPUTING
from mgclip.stream.fingerprint import difference
from mgclip.stream.skipped import Skipped

RECORDS, RECIPE, ENVIRONMENT, SUMMARY = "records.jsonl", "recipe.yaml", "environment.json", "summary.json"
DATA, FINAL, SKIPPED = "data.json", "final.json", "skipped.json"
FIRST = {"rapf_init": "identity"}
"""Settings that the first version did not write because it had no other."""


def environment() -> dict[str, Any]:
    """What a run depends on besides its recipe: versions of Python and packages, platform, device, processor threads."""
    import torch

    return {
        "format": FORMAT,
        **installed_versions(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def begin(folder: Path, recipe: Recipe, data: Mapping[str, Any], skipped: Sequence[Skipped] = ()) -> None:
    """Make a run's folder: what its data are, which images it leaves out, the environment and, last, the resolved recipe, which
    makes it a run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DATA, data)
    (folder / SKIPPED).unlink(missing_ok=True)
    if recipe.on_bad_image == "skip":
        write_json(folder / SKIPPED, [each.as_json() for each in skipped])
    write_json(folder / ENVIRONMENT, environment())
    write_text(folder / RECIPE, yaml.safe_dump(recipe.model_dump(), sort_keys=False, allow_unicode=True))


def is_unused(folder: Path) -> bool:
    """Whether a run may begin in ``folder``: it is not there, is empty, or holds what an interrupted beginning left."""
    if not folder.exists():
        return True
    made = {name for name in (DATA, SKIPPED, ENVIRONMENT, RECIPE) for name in (name, fresh_name(name))} - {RECIPE}
    if not folder.is_dir() or not (names := {entry.name for entry in folder.iterdir()}) <= made:
        return False
    try:  # what is written first, or not even that
        return names <= {fresh_name(DATA)} or checked(Data, read_json(folder / DATA), DATA) is not None
    except InputError:  # somebody else's
        return False


def read_recipe(folder: Path) -> Recipe:
    """The recipe a run was started with. Raises ``InputError`` where the folder is not a run."""
    if not (folder / RECIPE).is_file():
        raise InputError(f"{folder} is not a run: it has no {RECIPE}.")
    check_format(folder / ENVIRONMENT)
    values = read_yaml(folder / RECIPE)
    return build_recipe({**FIRST, **(values if isinstance(values, Mapping) else {})}, source=str(folder / RECIPE))


def check_same(folder: Path, recipe: Recipe, advice: str) -> None:
    """See that the run in a folder was begun with this recipe, but for settings of memory and speed.

    Raises ``InputError`` naming the first key that differs.
    """
    begun, now = meaning(read_recipe(folder)), meaning(recipe)
    moved = {"data_path"} if (folder / DATA).is_file() else set()  # what the data are is noted there
    absent = {key for key in PeerSettings.model_fields if key.partition("_")[0] not in recipe.methods}
    for key in Recipe.model_fields.keys() - moved - absent - COMPUTING:
        if begun[key] != now[key]:
            raise InputError(f"{folder} was started with {key} = {begun[key]!r}, not {now[key]!r}: {advice}.")


def check_data(folder: Path, now: dict[str, Any]) -> None:
    """See that a run goes on with the data it was begun with, if that was noted. Raises ``InputError`` with what changed."""
    file = folder / DATA
    begun = checked(Data, read_json(file), str(file)).model_dump(mode="json") if file.is_file() else now
    if (changed := difference(begun, now)) is not None:
        raise InputError(f"The data has changed since {folder} was begun ({changed}): restore it, or start a new run.")


def read_skipped(folder: Path) -> list[Skipped]:
    """The images a run leaves out. Raises ``InputError`` where the list is missing or damaged."""
    file = folder / SKIPPED
    if not file.is_file():
        raise InputError(
            f"{folder} leaves out images and has no {SKIPPED}: restore it from a copy, or start a new run."
        )
    found = read_json(file)
    checked(SkippedList, found, str(file))
    return [Skipped(**entry) for entry in found]  # as written: a name need not be UTF-8


def check_own(folder: Path, methods: Sequence[str]) -> None:
    """See that what a run writes stays in its folder. Raises ``InputError`` where a link leads out of it."""
    for part in (folder / method / inner for method in methods for inner in ("", "model", "examples")):
        if part.is_symlink():
            raise InputError(
                f"{part} is a link, and a run writes into its own folder only: put what it leads to there."
            )


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary that was written at the end; empty where it has not come to that. Raises ``InputError`` where it is damaged."""
    file = folder / SUMMARY
    return checked(Summary, read_json(file), str(file)).model_dump(mode="json") if file.is_file() else {}


def read_summaries(folder: Path) -> dict[str, dict[str, Any]]:
    """The summaries of a run's methods; empty where it has not come to its end. Raises ``InputError`` where they are damaged."""
    file = folder / SUMMARY
    return checked(Summaries, read_json(file), str(file)).model_dump(mode="json") if file.is_file() else {}


def append_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one line to the records and see it on disk."""
    with (folder / RECORDS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The whole records of a run so far, one per task; a last line cut short by a crash is left out."""
    file = folder / RECORDS
    try:
        lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}): restore the file from a copy.") from None
    lines = lines[:-1] if lines and not lines[-1] else lines
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError):
            if number < len(lines):
                raise InputError(f"Line {number} of {file} is not JSON: restore the file from a copy.") from None
    return records


def kept_records(folder: Path, count: int) -> list[dict[str, Any]]:
    """The records of the first ``count`` tasks, those a checkpoint vouches for. Raises ``InputError`` where they are damaged."""
    records = read_records(folder)[:count]
    for number, record in enumerate(records, start=1):
        checked(Record, record, f"Line {number} of {folder / RECORDS}")
    if len(records) < count:
        raise InputError(f"{folder} has {len(records)} records and a checkpoint of {count} tasks: start it anew.")
    return records


def write_records(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Put these records, and no others, into the folder."""
    folder.mkdir(exist_ok=True)
    write_text(folder / RECORDS, "".join(json.dumps(r, allow_nan=False) + "\n" for r in records))


def accuracy_matrix(records: Sequence[Mapping[str, Any]]) -> tuple[metrics.Matrix, list[int]]:
    """The matrix A ``(t, t)`` and the test images per task, from a run's records."""
    count = len(records)
    matrix = np.full((count, count), np.nan)
    for i, record in enumerate(records):
        matrix[i, : i + 1] = record["accuracy_per_task"]
        if i + 1 < count and record["next_task_text_accuracy"] is not None:
            matrix[i, i + 1] = record["next_task_text_accuracy"]
    return matrix, [int(record["test_images"]) for record in records]


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The metrics of a run, as shares of 1, from its records."""
    matrix, sizes = accuracy_matrix(records)
    return {
        "tasks": len(records),
        "classes": int(records[-1]["classes_seen"]),
        "epochs": max(
            int(record["epochs"]) for record in records
        ),  # a task of one class, or a later one, may have none
        "last": metrics.last(matrix, sizes),
        "average": metrics.average(matrix, sizes),
        "forgetting": metrics.forgetting(matrix),
        "backward_transfer": metrics.backward_transfer(matrix),
        "forward_transfer": metrics.forward_transfer(matrix),
        "accuracy_after": [float(a) for a in metrics.accuracy_after(matrix, sizes)],
        "seconds": float(sum(r["seconds"]["learn"] + r["seconds"]["evaluate"] for r in records)),
    }
