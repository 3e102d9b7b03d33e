"""The content of a report's page, section by section, for its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mgclip.experiment.domain_metrics import shown_metrics
from mgclip.experiment.metrics import EPOCHS, SECONDS
from mgclip.method.analytic.decision import Decision, describe_decision
from mgclip.report.figures import Label
from mgclip.report.page_charts import (
    Chart,
    ChartPlan,
    ChartSpec,
    Curve,
    Side,
    accuracy_curves,
    gap_curves,
    make_chart,
    plan_charts,
    probe_curves,
)
from mgclip.report.page_classes import class_table, class_views
from mgclip.report.page_figures import matrix_figure
from mgclip.report.page_raw import branches_table, loss_charts, pairs_table
from mgclip.report.page_tables import (
    Table,
    curves_table,
    domain_table,
    forgetting_table,
    full_name,
    matrix_table,
    percent,
    published_table,
    results_table,
    settings_tables,
    spread_table,
    timing_table,
    version_tables,
)
from mgclip.report.run_data import Result, Run, all_results, with_other_data
from mgclip.words import count, listed

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


def report_content(runs: Sequence[Run]) -> dict[str, object]:
    """Everything that ``report.html.j2`` shows."""
    plan = plan_charts(runs)
    return {
        "several": len(runs) > 1,
        "runs": [_head(run) for run in runs],
        "has_domains": any(result.in_domains for result in all_results(runs)),
        "has_joint": any(result.joint for result in all_results(runs)),
        "columns": [*shown_metrics(result.summary for result in all_results(runs)), EPOCHS, SECONDS],
        "summary": results_table(plan),
        "spread": spread_table(runs),
        "other_data": _other_data(runs),
        "published": published_table(runs),
        "adapters": _adapters(runs),
        "accuracy": _accuracy(plan),
        "matrices": [_matrices(run, number) for number, run in enumerate(runs)],
        "forgetting": forgetting_table(runs),
        "probes": _probes(plan),
        "alphas": _alphas(runs),
        "allowed": _allowed(plan),
        "gaps": _gaps(plan),
        "branches": branches_table(runs),
        "pairs": pairs_table(runs),
        "losses": loss_charts(plan),
        "class_views": class_views(runs),
        "class_table": class_table(runs),
        "without": _without_final(runs),
        "settings": settings_tables(runs),
        "versions": version_tables(runs),
        "timings": timing_table(runs),
    }


def _head(run: Run) -> dict[str, str]:
    """A run in one line; ``missing``: what has not finished."""
    result = max(run.results, key=lambda result: len(result.records))
    parts = [
        f"{run.setup.name}, seed {run.setup.seed}",
        count(len(run.results), "method"),
        count(len(result.records), "task"),
        count(result.records[-1]["classes_seen"], "class", "classes"),
        f"CLIP: {run.setup.clip}",
    ]
    missing = [f"{result.method} has {len(result.records)} so far" for result in run.results if not result.finished]
    missing += [f"{method} has not finished a task" for method in run.waiting]
    return {
        "label": run.label,
        "folder": str(run.folder),
        "description": " · ".join(parts),
        "missing": "; ".join(missing),
    }


def _adapters(runs: Sequence[Run]) -> list[str]:
    """What was decided last about the adapters of each method that decides on them."""
    sentences = []
    for result in all_results(runs):
        decided = [record for record in result.records if "adapters" in record]
        if decided:
            what = describe_decision(Decision(**decided[-1]["adapters"]))
            sentences.append(f"{result.label}, before task {decided[-1]['task'] + 1}: {what}")
    return sentences


def _other_data(runs: Sequence[Run]) -> str:
    """Which runs have equal settings but other data, in a sentence; empty if none have."""
    apart = with_other_data(runs)
    return f"Only runs with the same data are averaged. The data of these runs differ: {listed(apart, most=6)}." if apart else ""


def _accuracy(plan: ChartPlan) -> ChartSection:
    curves, title = accuracy_curves(plan), "Accuracy over all classes seen, after each task"
    chart = make_chart(plan, curves, ChartSpec("accuracy", title, ("tasks learned", "accuracy, %"), " %"))
    return ChartSection("", chart, curves_table("Accuracy after each task, %", curves, column="task", digits=1))


def _probes(plan: ChartPlan) -> list[ChartSection]:
    """The similarities over the epochs of each probe: their change as a chart, with the limits set by alpha, and the values."""
    sections = []
    for side in SIDES:
        if values := probe_curves(plan, side, relative=False):
            title = f"Change of the {side} similarity over the probe's epochs"
            axis_labels = "epochs of the probe", "change, % of the initial value"
            spec = ChartSpec(f"probe-{side}", title, axis_labels, " %", alpha_lines=side == "negative")
            chart = make_chart(plan, probe_curves(plan, side, relative=True), spec)
            sections.append(_similarity(side, chart, values, column="epoch", digits=3))
    return sections


def _gaps(plan: ChartPlan) -> list[ChartSection]:
    """The similarities after each task, if they were measured."""
    sections = []
    for side in SIDES:
        if curves := gap_curves(plan, side):
            axis_labels = "tasks learned", f"{side} similarity"
            spec = ChartSpec(f"gap-{side}", f"The {side} similarity after each task", axis_labels)
            sections.append(_similarity(side, make_chart(plan, curves, spec), curves, column="task", digits=2))
    return sections


def _similarity(side: Side, chart: Chart, values: Sequence[Curve], *, column: str, digits: int) -> ChartSection:
    table = curves_table(f"The {side} similarity, logits", values, column=column, digits=digits)
    return ChartSection(f"{side.capitalize()} similarity", chart, table)


def _matrices(run: Run, place: int) -> list[MatrixSection]:
    """The accuracy matrices of a run's results, that of its lead first."""

    def matrix(result: Result, number: int) -> MatrixSection:
        if result.in_domains:
            return MatrixSection(result.label, table=domain_table(result))
        if len(result.records) <= MAX_CELLS:
            return MatrixSection(result.label, table=matrix_table(result))
        ends = zip(result.matrix.diagonal(), result.matrix[-1], strict=True)
        numbers = [f"task {n} from {percent(a)} to {percent(b)} %" for n, (a, b) in enumerate(ends, start=1)]
        label = Label(f"matrix-{place}-{number}", f"{result.label}: accuracy on each task", "; ".join(numbers) + ".")
        return MatrixSection(result.label, svg=matrix_figure(result.matrix, label))

    return [matrix(result, number) for number, result in enumerate(run.ranked)]


def _alphas(runs: Sequence[Run]) -> str:
    alphas = dict.fromkeys(run.setup.alpha for run in runs)
    return "alpha = " + ", ".join("null: no limit" if alpha is None else f"{alpha:g}" for alpha in alphas)


def _allowed(plan: ChartPlan) -> str:
    """The number of epochs that each probe allowed, in words."""
    allowed: dict[int, list[Curve]] = {}
    for curve in probe_curves(plan, "negative", relative=False):
        if curve.result.probe:
            allowed.setdefault(curve.result.probe["epochs"], []).append(curve)
    if len(allowed) == 1:
        return f"It allowed {count(next(iter(allowed)), 'epoch')}."
    return " ".join(
        f"It allowed {count(epochs, 'epoch')} for {'; '.join(map(full_name, curves))}." for epochs, curves in allowed.items()
    )


def _without_final(runs: Sequence[Run]) -> str:
    results = all_results(runs)
    without = [result.label for result in results if result.final is None]
    if not without:
        return ""
    why = "it is written when a method finishes; earlier versions did not write it"
    if len(without) == len(results):
        return f"Not recorded: no method of {'these runs' if len(runs) > 1 else 'this run'} has a final.json ({why})."
    return f"Not recorded for {', '.join(without)}: there is no final.json ({why})."
