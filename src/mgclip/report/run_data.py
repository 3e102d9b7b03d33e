"""The content of run folders, checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mgclip.errors import InputError
from mgclip.experiment import run_folder
from mgclip.experiment.metrics import Matrix, Metric
from mgclip.experiment.published import published_results
from mgclip.experiment.recipe import Recipe
from mgclip.experiment.reproduce import PublishedResult
from mgclip.experiment.same_experiment import DESCRIPTIONS
from mgclip.experiment.schemas import (
    Data,
    Ending,
    Environment,
    Final,
    ProbeRecord,
    Record,
    Retained,
    Setup,
    Summary,
    checked,
    read_environment,
    read_run_file,
)
from mgclip.method.methods import is_joint
from mgclip.words import listed


@dataclass(frozen=True)
class Result:
    """One method of one run: its records, the metrics that follow from them, the accuracy matrix ``(tasks, tasks)``, its
    zero-shot retention and its last evaluation. ``label`` is its name on the page, with the run if there are several.
    """

    run: str
    method: str
    label: str
    folder: Path
    records: tuple[Record, ...]
    summary: Summary
    matrix: Matrix
    retention: dict[str, Retained]
    finished: bool
    final: Final | None

    @property
    def joint(self) -> bool:
        """Whether it learned all classes at once."""
        return is_joint(self.method)

    @property
    def in_domains(self) -> bool:
        """Whether its stream consists of several data sets."""
        return "accuracy_per_domain" in self.records[-1]

    @property
    def probe(self) -> ProbeRecord | None:
        """The record of its probe, if it was probed."""
        return next((probe for record in self.records if (probe := record.get("probe"))), None)

    def value(self, metric: Metric) -> float | None:
        """The value of a metric, whose key is one of the summary or names a data set of the retention."""
        kept = self.retention.get(metric.key)
        return metric.of(self.summary) if kept is None else kept["drop"]


@dataclass(frozen=True)
class Run:
    """One run: ``results`` of the methods that have finished a task; ``waiting``: the others; ``published``: what was published
    in its setting, by method; ``data``: the digests of its data, if they were recorded.
    """

    label: str
    folder: Path
    setup: Setup
    environment: Environment
    results: tuple[Result, ...]
    waiting: tuple[str, ...]
    published: Mapping[str, PublishedResult]
    data: Data | None

    @property
    def numbered(self) -> bool:
        """Whether its class order is a number."""
        return isinstance(self.setup.model_dump().get("class_order"), int)

    @property
    def tested_on(self) -> str:
        """What is recorded of its data and does not depend on the seed or a numbered class order; empty if nothing is."""
        ordered = not self.numbered and self.setup.model_dump().get("class_order") != "shuffled"
        if self.data is None or not (ordered or self.setup.tasks is None):  # the first tasks of other orders have other classes
            return ""
        tasks = list(self.data.values())
        found: list[object] = [sorted(name for task in tasks for name in task["classes"])]
        found.append(sum(task["test"]["images"] for task in tasks))
        if self.setup.imbalance == 1:  # the seed decides which classes of a long tail are rare
            found.append(sum(task["train"]["images"] for task in tasks))
        if ordered:
            found += [sorted(task["test"].items()) for task in tasks]
        return repr(found)

    @property
    def ranked(self) -> list[Result]:
        """The results as they are shown: that of mg-clip first, if there is one."""
        return sorted(self.results, key=lambda result: result.method != "mg-clip")


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read runs, finished or not, each once. Raises ``InputError`` if a folder is not a run, has no record yet, or contains a
    damaged file.
    """
    if not folders:
        raise InputError("A report needs at least one run: give its folder.")
    unique = list({folder.resolve(): folder for folder in folders}.values())
    return [_read_run(folder, label, len(unique) > 1) for folder, label in zip(unique, labels(unique), strict=True)]


def repeated(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups that differ in nothing but their seeds or numbered class orders, and were tested on the same data.

    A run that differs in nothing at all from an earlier one says nothing about the spread: it is in a group of its own.
    """
    groups: dict[str, list[Run]] = {}
    seen: set[str] = set()
    for number, run in enumerate(runs):
        same, fixed = _own_settings(run, set()), f"{_fixed_settings(run)} {run.tested_on}"
        again = f"{same} {run.tested_on}"
        groups.setdefault(f"{fixed} {number}" if again in seen else fixed, []).append(run)
        seen.add(again)
    return list(groups.values())


def with_other_data(runs: Sequence[Run]) -> list[str]:
    """The names of the runs whose settings differ only in seed or class order from those of a run on other data."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(_fixed_settings(run), []).append(run)
    return [run.label for own in found.values() if len({run.tested_on for run in own}) > 1 for run in own]


def _fixed_settings(run: Run) -> str:
    """The settings of a run but its seed and a numbered class order."""
    return _own_settings(run, {"seed", "class_order"} if run.numbered else {"seed"})


def _own_settings(run: Run, free: set[str]) -> str:
    own = run.setup.model_dump(mode="json")
    return repr(sorted((key, own[key]) for key in own.keys() - free - DESCRIPTIONS))


def group_notes(groups: Sequence[Sequence[Run]]) -> list[str]:
    """The runs of each group, in words, if several groups have recipes of the same name."""
    names = Counter(group[0].setup.name for group in groups)
    return [listed([run.label for run in group], most=2) if names[group[0].setup.name] > 1 else "" for group in groups]


def all_results(runs: Sequence[Run]) -> list[Result]:
    """The results of all runs."""
    return [result for run in runs for result in run.results]


def labels(folders: Sequence[Path]) -> list[str]:
    """The shortest distinct ends of different paths."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts))):
        short = ["/".join(part[-depth:]) for part in parts]
        if len(set(short)) == len(short):
            return short
    return [str(folder.resolve()) for folder in folders]


def _read_run(folder: Path, label: str, several: bool) -> Run:
    values = {**Recipe(name=folder.name).model_dump(), **run_folder.read_settings(folder)}
    setup = checked(Setup, values, str(folder / run_folder.RECIPE))
    results, waiting = [], []
    for method in setup.methods:
        result = _read_result(folder / method, label, method, f"{label}/{method}" if several else method)
        if result is None:
            waiting.append(method)
        else:
            results.append(result)
    if not results:
        raise InputError(f"{folder} has no finished task yet: report it when the first task is finished.")
    environment = read_environment(folder / run_folder.ENVIRONMENT)
    data = read_run_file(Data, folder / run_folder.DATA)
    return Run(label, folder, setup, environment, tuple(results), tuple(waiting), _published(folder), data)


def _published(folder: Path) -> dict[str, PublishedResult]:
    try:
        return published_results(run_folder.read_recipe(folder))
    except InputError:  # of another version, or with methods of a package that is not installed
        return {}


def _read_result(folder: Path, run: str, method: str, label: str) -> Result | None:
    lines = run_folder.read_records(folder)
    if not lines:
        return None
    read = tuple(checked(Record, line, f"Line {n} of {folder / run_folder.RECORDS}") for n, line in enumerate(lines, start=1))
    for number, record in enumerate(read, start=1):
        if record["task"] != number - 1 or len(record["accuracy_per_task"]) != number:
            raise InputError(
                f"Line {number} of {folder / run_folder.RECORDS} is not the record of task {number}: restore it from a backup."
            )
    ending = read_run_file(Ending, folder / run_folder.SUMMARY)
    return Result(
        run=run,
        method=method,
        label=label,
        folder=folder,
        records=read,
        summary=run_folder.summarise(read),
        matrix=run_folder.accuracy_matrix(read)[0],
        retention=(ending or {}).get("retention", {}),
        finished=ending is not None,
        final=read_run_file(Final, folder / run_folder.FINAL),
    )
