"""What a run's folder holds, checked and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgclip.errors import InputError
from mgclip.experiment import records
from mgclip.experiment.metrics import Matrix
from mgclip.experiment.recipe import Recipe, read_yaml
from mgclip.experiment.run_files import Ending, Final, Probe, Record, Setup, check_format, checked, read_json
from mgclip.method.baselines.table import METHODS


@dataclass(frozen=True)
class Result:
    """One method of one run: its records, the metrics that follow from them, the matrix ``(tasks, tasks)``, what it knew at the
    end. ``label`` names it on the page, with its run where there are several.
    """

    run: str
    method: str
    label: str
    folder: Path
    records: tuple[Record, ...]
    summary: Mapping[str, Any]
    matrix: Matrix
    drops: Mapping[str, float]
    finished: bool
    final: Final | None

    @property
    def joint(self) -> bool:
        """Whether it learned all classes at once."""
        return self.method in METHODS and METHODS[self.method].joint

    @property
    def probe(self) -> Probe | None:
        """What its probe saw, if it was probed."""
        return next((record.probe for record in self.records if record.probe), None)


@dataclass(frozen=True)
class Run:
    """One run: ``results`` of the methods that have finished a task, ``waiting`` the others."""

    label: str
    folder: Path
    setup: Setup
    environment: Mapping[str, Any]
    results: tuple[Result, ...]
    waiting: tuple[str, ...]

    @property
    def lead(self) -> Result:
        """The result that is shown first: of mg-clip, if there is one."""
        return next((result for result in self.results if result.method == "mg-clip"), self.results[0])


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read runs, each once. Raises ``InputError`` where a folder is no run, has no record yet, or holds a damaged file."""
    if not folders:
        raise InputError("A report needs a run: give the folder of one.")
    places = list({folder.resolve(): folder for folder in folders}.values())
    return [_read_run(folder, label, len(places) > 1) for folder, label in zip(places, labels(places), strict=True)]


def labels(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of different paths that tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts))):
        short = ["/".join(part[-depth:]) for part in parts]
        if len(set(short)) == len(short):
            return short
    return [str(folder.resolve()) for folder in folders]


def _read_run(folder: Path, label: str, several: bool) -> Run:
    setup, results, waiting = _read_setup(folder), [], []
    for method in setup.methods:
        result = _read_result(folder / method, label, method, f"{label}/{method}" if several else method)
        if result is None:
            waiting.append(method)
        else:
            results.append(result)
    if not results:
        raise InputError(f"{folder} has no record of a finished task: report it when the first task is done.")
    environment = check_format(folder / records.ENVIRONMENT)
    return Run(label, folder, setup, environment, tuple(results), tuple(waiting))


def _read_setup(folder: Path) -> Setup:
    file = folder / records.RECIPE
    if not file.is_file():
        raise InputError(f"{folder} is not a run: it has no {records.RECIPE}.")
    values = read_yaml(file)
    if not isinstance(values, dict):
        raise InputError(f"{file} must hold settings, one key: value a line; found {type(values).__name__}.")
    return checked(Setup, {**Recipe(name=folder.name).model_dump(), **values}, str(file))


def _read_result(folder: Path, run: str, method: str, label: str) -> Result | None:
    lines = records.read_records(folder)
    if not lines:
        return None
    read = tuple(
        checked(Record, line, f"Line {n} of {folder / records.RECORDS}") for n, line in enumerate(lines, start=1)
    )
    for number, record in enumerate(read, start=1):
        if record.task != number - 1 or len(record.accuracy_per_task) != number:
            raise InputError(
                f"Line {number} of {folder / records.RECORDS} is not the record of task {number}: restore the file from a copy."
            )
    plain = [record.model_dump() for record in read]
    summary, final = read_json(folder / records.SUMMARY), read_json(folder / records.FINAL)
    ending = checked(Ending, summary or {}, str(folder / records.SUMMARY))
    return Result(
        run=run, method=method, label=label, folder=folder, records=read, summary=records.summarise(plain),
        matrix=records.accuracy_matrix(plain)[0], drops={name: kept.drop for name, kept in ending.retention.items()},
        finished=summary is not None, final=None if final is None else checked(Final, final, str(folder / records.FINAL)),
    )  # fmt: skip
