"""The content of a report's page, section by section, for its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mgclip.experiment.metrics import EPOCHS, METRICS, SECONDS
from mgclip.report.figures import Label
from mgclip.report.page_charts import (
    Chart,
    Curve,
    Plan,
    Side,
    accuracy_chart,
    accuracy_curves,
    gap_chart,
    gap_curves,
    make_plan,
    probe_chart,
    probe_curves,
)
from mgclip.report.page_classes import class_table, class_views
from mgclip.report.page_figures import matrix_figure
from mgclip.report.page_tables import (
    Table,
    curves_table,
    forgetting_table,
    full_name,
    matrix_table,
    percent,
    settings_tables,
    summary_table,
    timing_table,
    version_tables,
)
from mgclip.report.run_data import Result, Run
from mgclip.words import count

MAX_CELLS = 25
"""An accuracy matrix of more tasks is a figure instead of a table."""
SIDES: tuple[Side, ...] = ("negative", "positive")


def report_title(runs: Sequence[Run]) -> str:
    """The name of the recipe, or the number of runs and their recipes."""
    names = list(dict.fromkeys(run.setup.name for run in runs))
    if len(runs) == 1:
        return names[0]
    return f"{len(runs)} runs of {', '.join(names[:3])}" + " and others" * (len(names) > 3)


@dataclass(frozen=True)
class ChartSection:
    """A chart under a title, and the table of its numbers."""

    title: str
    chart: Chart
    numbers: Table


@dataclass(frozen=True)
class MatrixSection:
    """The accuracy matrix of a result: a table, or a figure if there are too many tasks."""

    label: str
    table: Table | None = None
    svg: Markup | None = None


@dataclass(frozen=True)
class RunMatrices:
    """The matrices of a run: that of its lead, and the others."""

    label: str
    first: MatrixSection
    others: Sequence[MatrixSection]


@dataclass(frozen=True)
class RunHead:
    """A run in one line; ``missing``: what has not finished."""

    label: str
    folder: str
    description: str
    missing: str


def report_content(runs: Sequence[Run]) -> dict[str, object]:
    """Everything that ``report.html.j2`` shows."""
    plan = make_plan(runs)
    numbers = curves_table("Accuracy after each task, %", accuracy_curves(plan), column="task", digits=1)
    return {
        "several": len(runs) > 1,
        "runs": [RunHead(run.label, str(run.folder), _describe(run), _missing(run)) for run in runs],
        "has_joint": any(result.joint for run in runs for result in run.results),
        "columns": [*METRICS, EPOCHS, SECONDS],
        "summary": summary_table(plan),
        "accuracy": _charts("", accuracy_chart(plan), numbers)[0],
        "matrices": [_matrices(run, number) for number, run in enumerate(runs)],
        "forgetting": forgetting_table(runs),
        "probes": [part for side in SIDES for part in _probe(plan, side)],
        "alphas": _alphas(runs),
        "allowed": _allowed(plan),
        "gaps": [part for side in SIDES for part in _gap(plan, side)],
        "class_views": class_views(runs),
        "class_table": class_table(runs),
        "without": _without_final(runs),
        "settings": settings_tables(runs),
        "versions": version_tables(runs),
        "timings": timing_table(runs),
    }


def _describe(run: Run) -> str:
    result = max(run.results, key=lambda result: len(result.records))
    parts = [
        f"{run.setup.name}, seed {run.setup.seed}",
        count(len(run.results), "method"),
        count(len(result.records), "task"),
        count(result.records[-1]["classes_seen"], "class", "classes"),
        f"CLIP: {run.setup.clip}",
    ]
    return " · ".join(parts)


def _missing(run: Run) -> str:
    started = [f"{result.method} has {len(result.records)} so far" for result in run.results if not result.finished]
    return "; ".join([*started, *(f"{method} has not finished a task" for method in run.waiting)])


def _charts(title: str, chart: Chart | None, numbers: Table) -> list[ChartSection]:
    """A chart and its numbers, or nothing if there is nothing to draw."""
    return [ChartSection(title, chart, numbers)] if chart else []


def _probe(plan: Plan, side: Side) -> list[ChartSection]:
    curves = probe_curves(plan, side, relative=False)
    table = curves_table(f"The {side} similarity, logits", curves, column="epoch", digits=3)
    return _charts(f"{side.capitalize()} similarity", probe_chart(plan, side), table)


def _gap(plan: Plan, side: Side) -> list[ChartSection]:
    table = curves_table(f"The {side} similarity, logits", gap_curves(plan, side), column="task", digits=2)
    return _charts(f"{side.capitalize()} similarity", gap_chart(plan, side), table)


def _matrices(run: Run, place: int) -> RunMatrices:
    def matrix(result: Result, number: int) -> MatrixSection:
        if len(result.records) <= MAX_CELLS:
            return MatrixSection(result.label, table=matrix_table(result))
        ends = zip(result.matrix.diagonal(), result.matrix[-1], strict=True)
        numbers = [f"task {n} from {percent(a)} to {percent(b)} %" for n, (a, b) in enumerate(ends, start=1)]
        label = Label(f"matrix-{place}-{number}", f"{result.label}: accuracy on each task", "; ".join(numbers) + ".")
        return MatrixSection(result.label, svg=matrix_figure(result.matrix, label))

    others = [result for result in run.results if result is not run.lead]
    return RunMatrices(run.label, matrix(run.lead, 0), [matrix(each, n) for n, each in enumerate(others, start=1)])


def _alphas(runs: Sequence[Run]) -> str:
    alphas = dict.fromkeys(run.setup.alpha for run in runs)
    return "alpha = " + ", ".join("null: no limit" if alpha is None else f"{alpha:g}" for alpha in alphas)


def _allowed(plan: Plan) -> str:
    """The number of epochs that each probe allowed, in words."""
    allowed: dict[int, list[Curve]] = {}
    for curve in probe_curves(plan, "negative", relative=False):
        if curve.result.probe:
            allowed.setdefault(curve.result.probe["epochs"], []).append(curve)
    if len(allowed) == 1:
        return f"It allowed {count(next(iter(allowed)), 'epoch')}."
    return " ".join(
        f"It allowed {count(epochs, 'epoch')} for {'; '.join(map(full_name, curves))}."
        for epochs, curves in allowed.items()
    )


def _without_final(runs: Sequence[Run]) -> str:
    results = [result for run in runs for result in run.results]
    without = [result.label for result in results if result.final is None]
    if not without:
        return ""
    why = "it is written when a method finishes; earlier versions did not write it"
    if len(without) == len(results):
        return f"Not recorded: no method of {'these runs' if len(runs) > 1 else 'this run'} has a final.json ({why})."
    return f"Not recorded for {', '.join(without)}: there is no final.json ({why})."
