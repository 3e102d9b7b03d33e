"""The tables of runs as plain cells, ready to be set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from mgclip.experiment.recipe import Recipe
from mgclip.experiment.run_files import Setup
from mgclip.report.page_charts import Curve, Plan
from mgclip.report.page_figures import swatch
from mgclip.report.run_data import Result, Run

METRICS: tuple[tuple[str, str, Callable[..., float] | None], ...] = (
    ("average", "Avg %", max),
    ("last", "Last %", max),
    ("forgetting", "forgetting", min),
    ("backward_transfer", "BWT", max),
    ("forward_transfer", "FWT", max),
    ("epochs", "E", None),
)
"""Columns of the summary: the metric, its heading, and which value of it is best."""
LONG = 300
"""Characters of a setting that are shown."""


@dataclass(frozen=True)
class Cell:
    """A cell. ``best``: of its column; ``level``: place on the colour scale, 0-100; ``ahead``: measured before learning."""

    text: str
    best: bool = False
    level: int | None = None
    ahead: bool = False


@dataclass(frozen=True)
class Row:
    """A row with its heading."""

    name: str
    cells: Sequence[Cell]
    swatch: Markup | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table; ``corner`` heads the column of row names. ``words``: cells hold text, not numbers."""

    caption: str
    corner: str
    head: Sequence[str]
    rows: Sequence[Row]
    words: bool = False


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1 as percent; a dash where there is none."""
    return "–" if share is None else f"{round(100 * share, digits) + 0.0:.{digits}f}"


def summary_table(plan: Plan) -> Table:
    """One row for each result, the best value of each column marked among runs of the same data and tasks."""
    sets = list(dict.fromkeys(name for run in plan.runs for result in run.results for name in result.drops))
    columns = [*METRICS, *((name, f"drop on {name}", min) for name in sets), ("seconds", "seconds", min)]
    values = [(run, result, {**result.summary, **result.drops}) for run in plan.runs for result in run.results]
    best: dict[tuple[object, ...], float] = {}
    for run, result, own in values:
        for key, _, choose in columns:
            if choose and own.get(key) is not None and result.finished and not result.joint:
                place, value = (*_protocol(run.setup), key), round(own[key], 4)
                best[place] = choose(best.get(place, value), value)

    def cell(run: Run, result: Result, value: float | None, key: str) -> Cell:
        if key in ("epochs", "seconds"):
            text = "–" if value is None else f"{value:,.0f}"
        else:
            text = percent(value, 2)
        rival = value is not None and result.finished and not result.joint and key != "epochs"
        return Cell(text, best=rival and round(value or 0.0, 4) == best.get((*_protocol(run.setup), key)))

    rows = []
    for number, (run, result, own) in enumerate(values):
        note = "" if result.finished else f"unfinished: {count(len(result.records), 'task')} so far"
        cells = [cell(run, result, own.get(key), key) for key, _, _ in columns]
        rows.append(Row(result.label, cells, swatch(plan.looks[result.label], f"summary-{number}"), note))
    return Table("Accuracies, transfers and drops in percent", "method", [head for _, head, _ in columns], rows)


def _protocol(setup: Setup) -> tuple[object, ...]:
    return setup.data, setup.initial_classes, setup.classes_per_task, setup.tasks


def count(number: int, word: str) -> str:
    """``3 tasks``, ``1 task``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def full_name(curve: Curve) -> str:
    """A curve's name with its run's, where its legend leaves that out."""
    return curve.name if curve.name.startswith(curve.result.label) else f"{curve.result.run}/{curve.name}"


def curves_table(caption: str, curves: Sequence[Curve], *, column: str, digits: int) -> Table:
    """The numbers behind a chart: a row for each curve, beginning where the first one does."""
    length, rows = max((len(curve.values) for curve in curves), default=0), []
    for curve in curves:
        cells = [Cell("–" if value is None else f"{value:.{digits}f}") for value in curve.values]
        rows.append(Row(full_name(curve), [*cells, *[Cell("")] * (length - len(cells))]))
    first = curves[0].first if curves else 1
    return Table(caption, "method", [f"{column} {n}" for n in range(first, first + length)], rows)


def matrix_table(result: Result) -> Table:
    """The accuracy matrix of a result in whole percent; right of the diagonal the next task, zero-shot."""
    whole, rows = len(result.records), []
    for done, record in enumerate(result.records):
        cells = [Cell(percent(share, 0), level=round(100 * share)) for share in record.accuracy_per_task]
        if record.next_task_text_accuracy is not None and done + 1 < whole:
            cells.append(Cell(percent(record.next_task_text_accuracy, 0), ahead=True))
        rows.append(Row(f"{done + 1}", cells + [Cell("")] * (whole - len(cells))))
    return Table(f"{result.label}: accuracy on each task, %", "learned", [f"task {n + 1}" for n in range(whole)], rows)


def forgetting_table(runs: Sequence[Run]) -> Table | None:
    """For each result and task but the last: best accuracy once reached minus the one at the end, in points."""
    lost: list[tuple[Result, list[float]]] = []
    for result in (result for run in runs for result in run.results if len(result.records) > 1):
        earlier = range(len(result.records) - 1)
        drops = [np.max(result.matrix[task:-1, task]) - result.matrix[-1, task] for task in earlier]
        lost.append((result, [float(drop) for drop in drops]))
    if not lost:
        return None
    most = max(max(drops) for _, drops in lost)
    length = max(len(drops) for _, drops in lost)
    rows = []
    for result, drops in lost:
        cells = [Cell(percent(drop), level=round(100 * max(drop, 0) / most) if most > 0 else 0) for drop in drops]
        mean = Cell(percent(float(np.mean(drops))))
        rows.append(Row(result.label, [mean, *cells, *[Cell("")] * (length - len(cells))]))
    head = ["mean", *(f"task {n + 1}" for n in range(length))]
    return Table("Points of accuracy forgotten", "method", head, rows)


def timing_table(runs: Sequence[Run]) -> Table:
    """Seconds of learning and evaluating each task, and in all."""
    results = [result for run in runs for result in run.results]
    length = max(len(result.records) for result in results)
    rows = []
    for result in results:
        seconds = [record.seconds for record in result.records]
        cells = [Cell(f"{each.learn:.1f} + {each.evaluate:.1f}") for each in seconds]
        whole = f"{sum(s.learn for s in seconds):,.1f} + {sum(s.evaluate for s in seconds):,.1f}"
        rows.append(Row(result.label, [Cell(whole), *cells, *[Cell("")] * (length - len(cells))]))
    head = ["in all", *(f"task {n + 1}" for n in range(length))]
    return Table("Seconds to learn + to evaluate", "method", head, rows)


def settings_tables(runs: Sequence[Run]) -> tuple[Table | None, Table | None]:
    """What stands out, and the rest: what differs between several runs; for a single run, from the defaults."""
    values = {run.label: run.setup.model_dump(mode="json") for run in runs}
    if len(runs) > 1:
        return _differing("Settings", values)
    own, defaults = values[runs[0].label], Recipe(name="").model_dump(mode="json")
    changed = {key: value for key, value in own.items() if key not in defaults or value != defaults[key]}
    rest = {key: value for key, value in own.items() if key not in changed}
    return _pairs("Settings that are not the defaults", changed), _pairs("Settings left at their defaults", rest)


def version_tables(runs: Sequence[Run]) -> tuple[Table | None, Table | None]:
    """Versions and machines: what differs between the runs, and what all share."""
    flat = {}
    for run in runs:
        environment = dict(run.environment)
        packages = environment.pop("packages", {})
        flat[run.label] = {**environment, **(packages if isinstance(packages, Mapping) else {})}
    return _differing("Versions and machine", flat)


def _differing(what: str, values: Mapping[str, Mapping[str, Any]]) -> tuple[Table | None, Table | None]:
    keys = list(dict.fromkeys(key for own in values.values() for key in own))
    same = [key for key in keys if all(own.get(key) == next(iter(values.values())).get(key) for own in values.values())]
    apart = [key for key in keys if key not in same]
    rows = [Row(label, [Cell(_say(own.get(key))) for key in apart]) for label, own in values.items()]
    differ = Table(f"{what} that differ", "run", apart, rows, words=True) if apart else None
    shared = next(iter(values.values()))
    caption = f"{what} that all runs share" if len(values) > 1 else what
    return differ, _pairs(caption, {key: shared[key] for key in same}) if same else None


def _pairs(caption: str, values: Mapping[str, Any]) -> Table:
    rows = [Row(key, [Cell(_say(value))]) for key, value in values.items()]
    return Table(caption, "name", ["value"], rows, words=True)


def _say(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [key if path is None else f"{key}: {path}" for key, path in value.items()]
    if isinstance(value, list | tuple):
        text = ", ".join(map(str, value)) or "none"
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONG else f"{text[:LONG]}…"
