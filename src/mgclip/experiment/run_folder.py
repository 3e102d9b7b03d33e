"""The folder of a run: the resolved recipe, the environment, one JSON line per task, a summary at the end."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mgclip.disk import temporary_name, write_json, write_text
from mgclip.environment import installed_versions, version_of
from mgclip.errors import InputError, MGCLIPError, first_line
from mgclip.experiment import domain_metrics, metrics
from mgclip.experiment.changed_code import changes, code_of_methods, record_changes, warn_of_changes
from mgclip.experiment.recipe import Recipe, build_recipe
from mgclip.experiment.recipe_files import read_yaml
from mgclip.experiment.same_experiment import effective_settings
from mgclip.experiment.schemas import (
    FORMAT,
    Data,
    Environment,
    Record,
    SkippedList,
    Summary,
    checked,
    read_environment,
    read_run_file,
)
from mgclip.method.baselines.options import owner
from mgclip.method.methods import METHODS
from mgclip.method.settings import RUNTIME_SETTINGS
from mgclip.missing import as_given
from mgclip.registry import OWN_PACKAGE
from mgclip.saving.lock import LOCK, OWNER
from mgclip.stream.datasets import DATASETS, ICON_SETS
from mgclip.stream.fingerprint import DataTask, difference
from mgclip.stream.unreadable import Skipped
from mgclip.untrusted import read_json
from mgclip.words import count

RECORDS, RECIPE, ENVIRONMENT = "records.jsonl", "recipe.yaml", "environment.json"
SUMMARY = "summary.json"
"""In the folder of a method its summary, in that of the run the summaries of all methods by name."""
DATA, FINAL, SKIPPED = "data.json", "final.json", "skipped.json"
OWN_FOLDERS = ("", "model", "examples", "predictions", "steps", "gaps")
"""The folder of a method, and those in it."""
FORMAT_1_DEFAULTS = {"rapf_init": "identity"}
"""Settings that format 1 did not always write, because only this value existed."""


def environment(others: Collection[str] = ()) -> Environment:
    """What a run depends on in addition to its recipe: versions of Python and packages, platform, device, processor threads.

    Args:
        others: Further packages whose versions are recorded.
    """
    import torch

    from mgclip.clip.parallel import device_name, local_device

    versions = installed_versions()
    versions["packages"].update({package: version_of(package) for package in others})
    return {
        "format": FORMAT,
        "python": versions["python"],
        "platform": versions["platform"],
        "packages": versions["packages"],
        "threads": torch.get_num_threads(),
        "device": device_name(local_device()),
    }


def begin(folder: Path, recipe: Recipe, data: Mapping[str, DataTask], skipped: Sequence[Skipped] = ()) -> None:
    """Create the folder of a run, with the fingerprint of its stream and the images to leave out. The recipe is written last: a
    folder without it is not a run.
    """
    code = code_of_methods(recipe.methods)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DATA, data)
    (folder / SKIPPED).unlink(missing_ok=True)
    if recipe.on_bad_image == "skip":
        write_json(folder / SKIPPED, [asdict(each) for each in skipped])
    used = {METHODS.package(method) for method in recipe.methods}
    used |= {DATASETS.package(name) for name in (*recipe.data_names, *recipe.retention)}
    found = environment(sorted(used - {OWN_PACKAGE}))
    if code:
        found["methods"] = code
    write_json(folder / ENVIRONMENT, found)
    complete = build_recipe(recipe.model_dump(), source=recipe.name)  # with the settings of all its methods
    settings = complete.model_dump(mode="json", exclude={key for key in complete.own if owner(key) not in recipe.methods})
    write_text(folder / RECIPE, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))


def is_unused(folder: Path) -> bool:
    """Whether a run may start in ``folder``: it does not exist, is empty, or contains only what an interrupted start left."""
    if not folder.exists():
        return True
    files = (DATA, SKIPPED, ENVIRONMENT)
    written = {*files, *map(temporary_name, (*files, RECIPE)), LOCK, OWNER}
    if not folder.is_dir() or not (names := {entry.name for entry in folder.iterdir()}) <= written:
        return False
    try:  # only the first file, or its temporary copy, was written
        return names <= {temporary_name(DATA), LOCK, OWNER} or read_run_file(Data, folder / DATA) is not None
    except InputError:  # not a run folder of ours
        return False


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run. Raises ``InputError`` if the folder is not a run, or one of its methods is not installed."""
    values = read_settings(folder)
    methods = values["methods"] if isinstance(values.get("methods"), list) else []
    if unknown := [name for name in methods if isinstance(name, str) and name not in METHODS]:
        raise InputError(
            f"{as_given(folder)} is a run of the method {unknown[0]}, which is not installed: install its package, or resume the "
            "run with the program that registers it."
        )
    if read_environment(folder / ENVIRONMENT).get("format", 1) == 1:
        values = {**FORMAT_1_DEFAULTS, **values}
        if values.get("data", "icons100") not in ICON_SETS:  # other data ignored these settings
            values |= {"train_per_class": None, "test_per_class": None}
    return build_recipe(values, source=str(folder / RECIPE))


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings in the recipe of a run, not checked. Raises ``InputError`` if the folder is not a run."""
    file = folder / RECIPE
    if not file.is_file():
        raise InputError(f"{as_given(folder)} is not a run, because it has no {RECIPE}: give the folder of a run.")
    return read_yaml(file)


def check_same(folder: Path, recipe: Recipe, advice: str) -> None:
    """Check that the run in a folder was started with this recipe, apart from settings of memory and speed. Raises
    ``InputError``, which names the first key that differs and ends with ``advice``.
    """
    started, now = effective_settings(read_recipe(folder), recipe.methods), effective_settings(recipe)
    moved = {"data_path"} if (folder / DATA).is_file() else set()  # the data may move: its fingerprint is checked
    for key in (started.keys() | now.keys()) - moved - {"log_with"} - RUNTIME_SETTINGS:
        if started.get(key) != now.get(key):
            raise InputError(f"{folder} was started with {key} = {started.get(key)!r}, not {now.get(key)!r}: {advice}.")


def check_data(folder: Path, now: Data) -> None:
    """Check that a run resumes with the data it was started with, if their fingerprint was recorded. Raises ``InputError``,
    naming what changed.
    """
    recorded = read_run_file(Data, folder / DATA)
    if recorded is not None and (changed := difference(recorded, now)) is not None:
        raise InputError(f"The data has changed since {folder} was started ({changed}): restore it, or start a new run.")


def check_code(folder: Path, methods: Sequence[str], *, resumes: bool = False) -> None:
    """Warn if packages, or methods of other packages, have changed since a run was started. If it ``resumes``, record
    that for those of its methods that have not finished.
    """
    started = read_environment(folder / ENVIRONMENT)
    left = [method for method in methods if not (resumes and (folder / method / SUMMARY).is_file())]
    changed = changes(started, left) if left else []
    warn_of_changes(folder, changed)
    if resumes:
        record_changes(folder / ENVIRONMENT, changed)


def read_skipped(folder: Path) -> list[Skipped]:
    """The images that a run leaves out. Raises ``InputError`` if the list is missing or damaged."""
    file = folder / SKIPPED
    if read_run_file(SkippedList, file) is None:
        raise InputError(f"{folder} leaves out images but has no {SKIPPED}: restore it from a backup, or start a new run.")
    return [Skipped(**entry) for entry in read_json(file)]  # not the checked copy: a file name need not be UTF-8


def check_own(folder: Path, methods: Sequence[str]) -> None:
    """Check that a run writes into its own folder only. Raises ``InputError`` if one of its folders is a symbolic link."""
    for part in (folder / method / inner for method in methods for inner in OWN_FOLDERS):
        if part.is_symlink():
            raise InputError(f"{part} is a symbolic link, which a run does not follow: replace it by a real folder.")


def check_still_there(folder: Path) -> None:
    """Check that the folder of a run that is going on was neither moved nor removed, because its files would be written into a
    new folder, which is not a run. Raises ``MGCLIPError`` if it was.
    """
    if not (folder / RECIPE).is_file():
        raise MGCLIPError(
            f"The folder of the run, {folder}, was moved, renamed or removed during the run: move it back and resume it with "
            "`mgclip run --resume`, or start a new run."
        )


def append_record(folder: Path, record: Record) -> None:
    """Append a line to the records and wait until it is on disk."""
    with (folder / RECORDS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_records(folder: Path) -> list[Record]:
    """The records of a method, one per task, as written and not checked. A last line that a crash cut short is left out. Raises
    ``InputError`` if the file cannot be read, or another line is not JSON.
    """
    file = folder / RECORDS
    try:
        lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({first_line(error)}): restore it from a backup.") from None
    lines = lines[:-1] if lines and not lines[-1] else lines
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError):
            if number < len(lines):
                raise InputError(f"Line {number} of {file} is not JSON: restore it from a backup.") from None
    return records


def kept_records(folder: Path, tasks: int) -> list[Record]:
    """The records of the first ``tasks`` tasks, which the checkpoint contains. Raises ``InputError`` if one is missing or
    damaged.
    """
    records = read_records(folder)[:tasks]
    for number, record in enumerate(records, start=1):
        checked(Record, record, f"Line {number} of {folder / RECORDS}")
    if len(records) < tasks:
        has = f"{count(len(records), 'record')} but a checkpoint after {count(tasks, 'task')}"
        raise InputError(f"{folder} has {has}: remove it to start this method again.")
    return records


def write_records(folder: Path, records: Sequence[Record]) -> None:
    """Replace the records of a method."""
    folder.mkdir(exist_ok=True)
    write_text(folder / RECORDS, "".join(json.dumps(r, allow_nan=False) + "\n" for r in records))


def accuracy_matrix(records: Sequence[Record]) -> tuple[metrics.Matrix, list[int]]:
    """The accuracy matrix A ``(t, t)`` and the number of test images of each task."""
    count = len(records)
    matrix = np.full((count, count), np.nan)
    for i, record in enumerate(records):
        matrix[i, : i + 1] = record["accuracy_per_task"]
        next_task = record.get("next_task_text_accuracy")
        if i + 1 < count and next_task is not None:
            matrix[i, i + 1] = next_task
    return matrix, [record["test_images"] for record in records]


def summarise(records: Sequence[Record]) -> Summary:
    """The metrics of a method, from its records."""
    matrix, sizes = accuracy_matrix(records)
    after = metrics.accuracy_after(matrix, sizes)
    summary: Summary = {
        "tasks": len(records),
        "classes": records[-1]["classes_seen"],
        "epochs": max(record["epochs"] for record in records),  # a task of one class, or a later one, may have none
        "last": float(after[-1]),
        "average": float(after.mean()),
        "forgetting": metrics.forgetting(matrix),
        "backward_transfer": metrics.backward_transfer(matrix),
        "forward_transfer": metrics.forward_transfer(matrix),
        "accuracy_after": after.tolist(),
        "seconds": float(sum(r["seconds"]["learn"] + r["seconds"]["evaluate"] for r in records)),
    }
    if "shots" in records[-1]:
        summary.update(records[-1]["shots"])  # type: ignore[typeddict-item]
    if any("returning_images" in record for record in records):
        summary |= {"old": metrics.old_accuracy(matrix, sizes), "new": metrics.new_accuracy(matrix)}
    if (domains := domain_metrics.domain_matrix(records)) is not None:
        summary["transfer"] = domain_metrics.transfer(domains)
        summary["domain_average"] = domain_metrics.average(domains)
        summary["domain_last"] = domain_metrics.last(domains)
    return summary
