"""The tables of a page, as cells for the template.

Not pandas' Styler: its cells would still need the marks, swatches and isolated names of ours, and pandas takes longer to import
than a page takes to write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from mgclip.experiment.domain_metrics import shown_metrics
from mgclip.experiment.metrics import EPOCHS, SECONDS, Metric, accuracy_drops
from mgclip.experiment.recipe import default_settings
from mgclip.experiment.schemas import Setup
from mgclip.report.figures import swatch
from mgclip.report.page_charts import ChartPlan, Curve
from mgclip.report.run_data import Result, Run, all_results, group_notes, repeated
from mgclip.words import count

MAX_CHARACTERS = 300
"""Characters of a setting that are shown."""


@dataclass(frozen=True)
class Cell:
    """A cell. ``best``: of its column; ``level``: 0-100 on the colour scale; ``ahead``: measured before learning."""

    text: str
    best: bool = False
    level: int | None = None
    ahead: bool = False


@dataclass(frozen=True)
class Row:
    """A row and its heading."""

    name: str
    cells: Sequence[Cell]
    swatch: Markup | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table; ``corner`` is the heading of the row names. Rows may be shorter than ``head``. ``words``: cells contain text."""

    caption: str
    corner: str
    head: Sequence[str]
    rows: Sequence[Row]
    words: bool = False


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1 in percent; a dash for None."""
    return "–" if share is None else f"{round(100 * share, digits) + 0.0:.{digits}f}"


def points(share: float) -> str:
    """A difference of shares in points, with its sign unless it is shown as zero."""
    shown = round(100 * share, 1) + 0.0
    return f"{shown:+.1f}" if shown else "0.0"


def results_table(plan: ChartPlan) -> Table:
    """One row for each result. The best value of a column is marked among runs of the same data and tasks."""
    sets = list(dict.fromkeys(name for run in plan.runs for result in run.results for name in result.retention))
    drops = [Metric(name, f"drop on {name}", "", min, "") for name in sets]
    columns = [*shown_metrics(result.summary for result in all_results(plan.runs)), EPOCHS, *drops, SECONDS]
    results = [(run, result) for run in plan.runs for result in run.results]
    best: dict[tuple[object, ...], float] = {}
    for run, result in results:
        for metric in columns:
            value = result.value(metric)
            if metric.best and value is not None and result.finished and not result.joint:
                group, rounded = (*_protocol(run.setup), metric.key), _rounded(value, metric)
                best[group] = metric.best(best.get(group, rounded), rounded)

    def cell(run: Run, result: Result, metric: Metric) -> Cell:
        value = result.value(metric)
        if value is None:
            return Cell("–")
        text = f"{value:,.0f}" if metric in (EPOCHS, SECONDS) else percent(value, 2)
        compared = result.finished and not result.joint
        return Cell(text, best=compared and _rounded(value, metric) == best.get((*_protocol(run.setup), metric.key)))

    rows = []
    for number, (run, result) in enumerate(results):
        note = "" if result.finished else f"unfinished: {count(len(result.records), 'task')} so far"
        cells = [cell(run, result, metric) for metric in columns]
        rows.append(Row(result.label, cells, swatch(plan.styles[result.label], f"summary-{number}"), note))
    return Table("Accuracies, transfers and drops in percent", "method", [each.column for each in columns], rows)


def _rounded(value: float, metric: Metric) -> float:
    """A value as the table shows it, so that values that look equal are equal."""
    return round(value) if metric == SECONDS else round(value, 4)


def spread_table(runs: Sequence[Run]) -> Table | None:
    """Mean and standard deviation of the accuracies over runs that differ only in their seed or numbered class order."""
    groups = repeated(runs)
    columns, rows = shown_metrics(result.summary for result in all_results(runs)), []
    for group, note in zip(groups, group_notes(groups), strict=True):
        for method in group[0].setup.methods:
            found = [result for run in group for result in run.results if result.method == method and result.finished]
            if len(found) > 1:
                values = [[value for each in found if (value := each.value(metric)) is not None] for metric in columns]
                cells = [_mean_and_deviation(each) for each in values]
                rows.append(Row(f"{group[0].setup.name}/{method}", [*map(Cell, cells), Cell(str(len(found)))], note=note))
    head = [*(metric.column for metric in columns), "runs"]
    return Table("Mean ± standard deviation over runs, %", "method", head, rows) if rows else None


def _mean_and_deviation(values: Sequence[float]) -> str:
    return f"{percent(float(np.mean(values)))} ± {percent(float(np.std(values, ddof=1)))}" if len(values) > 1 else "–"


def published_table(runs: Sequence[Run]) -> Table | None:
    """Published results in the setting of a run, next to the measured ones; None if there are none."""
    rows = []
    for run in runs:
        measured = {result.method: result for result in run.results if result.finished}
        for method, published in run.published.items():
            result = measured.get(method)
            label = method if len(runs) == 1 else f"{run.label}/{method}"
            cells = ["–" if value is None else f"{value:.2f}" for value in (published.avg, published.last)]
            shares = (None, None) if result is None else (result.summary["average"], result.summary["last"])
            cells += [percent(share, 2) for share in shares]
            rows.append(Row(label, [Cell(text) for text in cells], note=published.source))
    head = ("published Avg", "published Last", "measured Avg", "measured Last")
    return Table("Published and measured accuracies in percent", "method", head, rows) if rows else None


def _protocol(setup: Setup) -> tuple[object, ...]:
    """What runs that are compared have in common. Folders of the user are all called *folder*, so their path counts too."""
    sets = [{"data": setup.data, "filter": setup.filter}, *setup.datasets]
    data = [(each.get("data"), each.get("name"), each.get("classes_per_task"), each.get("filter", "none")) for each in sets]
    paths = [each.get("data_path") for each in (*sets, {"data_path": setup.data_path})]
    folders = paths if any(each.get("data") == "folder" for each in sets) else []
    tasks = setup.initial_classes, setup.classes_per_task, setup.tasks, setup.task_known
    return *tasks, setup.imbalance, setup.blurry, *data, *folders


def full_name(curve: Curve) -> str:
    """The name of a curve with the name of its run, even if the legend omits that."""
    return curve.name if curve.name.startswith(curve.result.label) else f"{curve.result.run}/{curve.name}"


def curves_table(caption: str, curves: Sequence[Curve], *, column: str, digits: int) -> Table:
    """The numbers of a chart: a row for each curve."""
    first, length = curves[0].first, max(len(curve.values) for curve in curves)
    rows = [
        Row(full_name(curve), [Cell("–" if value is None else f"{value:.{digits}f}") for value in curve.values])
        for curve in curves
    ]
    return Table(caption, "method", [f"{column} {n}" for n in range(first, first + length)], rows)


def matrix_table(result: Result) -> Table:
    """The accuracy matrix of a result in percent without decimals; right of the diagonal the next task, zero-shot."""
    length, rows = len(result.records), []
    for done, record in enumerate(result.records):
        cells = [Cell(percent(share, 0), level=round(100 * share)) for share in record["accuracy_per_task"]]
        zero_shot = record.get("next_task_text_accuracy")
        if zero_shot is not None and done + 1 < length:
            cells.append(Cell(percent(zero_shot, 0), ahead=True))
        rows.append(Row(f"{done + 1}", cells))
    return Table(f"{result.label}: accuracy on each task, %", "learned", [f"task {n + 1}" for n in range(length)], rows)


def domain_table(result: Result) -> Table:
    """The accuracy of a result on each data set of a stream of several, after each task; dashed before it is learned."""
    names, rows = list(result.records[-1].get("accuracy_per_domain", {})), []
    for done, record in enumerate(result.records):
        learned = names.index(record["domain"])
        shares = enumerate(record["accuracy_per_domain"].values())
        cells = [
            Cell(percent(share, 0), level=round(100 * share) if place <= learned else None, ahead=place > learned)
            for place, share in shares
        ]
        rows.append(Row(f"{done + 1}: {'all' if result.joint else record['domain']}", cells))
    return Table(f"{result.label}: accuracy on each data set, %", "learned", names, rows)


def forgetting_table(runs: Sequence[Run]) -> Table | None:
    """For each result and task but the last: best accuracy so far minus the one at the end, in points."""
    lost = {result.label: drops for result in all_results(runs) if (drops := accuracy_drops(result.matrix))}
    if not lost:
        return None
    most = max(map(max, lost.values()))
    rows = []
    for label, drops in lost.items():
        cells = [Cell(percent(drop), level=round(100 * max(drop, 0) / most) if most > 0 else 0) for drop in drops]
        rows.append(Row(label, [Cell(percent(float(np.mean(drops)))), *cells]))
    head = ["mean", *(f"task {n + 1}" for n in range(max(map(len, lost.values()))))]
    return Table("Points of accuracy forgotten", "method", head, rows)


def timing_table(runs: Sequence[Run]) -> Table:
    """Seconds of learning and evaluating each task, and their sums."""
    rows = []
    for result in all_results(runs):
        seconds = [record["seconds"] for record in result.records]
        cells = [Cell(f"{each['learn']:.1f} + {each['evaluate']:.1f}") for each in seconds]
        learn, evaluate = sum(each["learn"] for each in seconds), sum(each["evaluate"] for each in seconds)
        rows.append(Row(result.label, [Cell(f"{learn:,.1f} + {evaluate:,.1f}"), *cells]))
    head = ["total", *(f"task {n + 1}" for n in range(max(len(result.records) for result in all_results(runs))))]
    return Table("Seconds to learn + to evaluate", "method", head, rows)


def settings_tables(runs: Sequence[Run]) -> tuple[Table | None, Table | None]:
    """The settings that differ between runs, or for a single run from the defaults; and the others."""
    values = {run.label: run.setup.model_dump(mode="json") for run in runs}
    if len(runs) > 1:
        return _compare("Settings", values)
    own, defaults = values[runs[0].label], default_settings(runs[0].setup.methods)
    changed = {key: value for key, value in own.items() if key not in defaults or value != defaults[key]}
    rest = {key: value for key, value in own.items() if key not in changed}
    return _pairs("Settings that are not the defaults", changed), _pairs("Settings left at their defaults", rest)


def version_tables(runs: Sequence[Run]) -> tuple[Table | None, Table | None]:
    """Versions and machines: those that differ between the runs, and those that all share."""
    flat: dict[str, Mapping[str, object]] = {}
    for run in runs:
        versions = {key: value for key, value in run.environment.items() if key != "packages"}
        flat[run.label] = versions | run.environment.get("packages", {})
    return _compare("Versions and machine", flat)


def _compare(what: str, values: Mapping[str, Mapping[str, object]]) -> tuple[Table | None, Table | None]:
    first = next(iter(values.values()))
    keys = list(dict.fromkeys(key for own in values.values() for key in own))
    same = [key for key in keys if all(own.get(key) == first.get(key) for own in values.values())]
    apart = [key for key in keys if key not in same]
    rows = [Row(label, [Cell(_as_text(own.get(key))) for key in apart]) for label, own in values.items()]
    differing = Table(f"{what} that differ", "run", apart, rows, words=True) if apart else None
    caption = f"{what} that all runs share" if len(values) > 1 else what
    return differing, _pairs(caption, {key: first[key] for key in same}) if same else None


def _pairs(caption: str, values: Mapping[str, object]) -> Table:
    rows = [Row(key, [Cell(_as_text(value))]) for key, value in values.items()]
    return Table(caption, "name", ["value"], rows, words=True)


def _as_text(value: object) -> str:
    if isinstance(value, Mapping):
        value = [key if path is None else f"{key}: {path}" for key, path in value.items()]
    if isinstance(value, list | tuple):
        text = ", ".join(_entry(each) if isinstance(each, Mapping) else str(each) for each in value) or "none"
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def _entry(of_list: Mapping[str, object]) -> str:
    """A data set of a stream of several, without settings at their defaults."""
    kept = {key: value for key, value in of_list.items() if value not in (None, "{}", "none")}
    return f"{{{', '.join(f'{key}: {value}' for key, value in kept.items())}}}"
