"""What a report's page says of runs, section by section, ready for its template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mgclip.report.page_charts import (
    Chart,
    Curve,
    Plan,
    accuracy_chart,
    accuracy_curves,
    gap_chart,
    gap_curves,
    make_plan,
    probe_chart,
    probe_curves,
)
from mgclip.report.page_classes import class_table, class_views
from mgclip.report.page_figures import Label, matrix_figure
from mgclip.report.page_tables import (
    Table,
    count,
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

CELLS = 25
"""Tasks up to which an accuracy matrix is a table of numbers; above, a picture."""
SIDES = ("negative", "positive")


def report_title(runs: Sequence[Run]) -> str:
    """The recipe's name, or how many runs of which recipes."""
    names = list(dict.fromkeys(run.setup.name for run in runs))
    if len(runs) == 1:
        return names[0]
    return f"{len(runs)} runs of {', '.join(names[:3])}" + " and others" * (len(names) > 3)


def report_content(runs: Sequence[Run]) -> dict[str, Any]:
    """Everything ``report.html.j2`` sets."""
    plan = make_plan(runs)
    numbers = curves_table("Accuracy after each task, %", accuracy_curves(plan), column="task", digits=1)
    return {
        "several": len(runs) > 1,
        "runs": [
            {"label": run.label, "folder": str(run.folder), "says": _describe(run), "missing": _missing(run)}
            for run in runs
        ],
        "has_joint": any(result.joint for run in runs for result in run.results),
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
        f"{run.setup.name}, seed {run.setup.seed}", count(len(run.results), "method"), count(len(result.records), "task"),
        f"{result.records[-1].classes_seen:,} classes", f"CLIP: {run.setup.clip}",
    ]  # fmt: skip
    return " · ".join(parts)


def _missing(run: Run) -> str:
    begun = [f"{result.method} has {len(result.records)} so far" for result in run.results if not result.finished]
    return "; ".join([*begun, *(f"{method} has not finished a task" for method in run.waiting)])


def _charts(title: str, chart: Chart | None, numbers: Table) -> list[dict[str, Any]]:
    """A chart and the table behind it, or nothing where there is nothing to draw."""
    return [{"title": title, "chart": chart, "numbers": numbers}] if chart else []


def _probe(plan: Plan, side: str) -> list[dict[str, Any]]:
    curves = probe_curves(plan, side, relative=False)
    table = curves_table(f"The {side} similarity, logits", curves, column="epoch", digits=3)
    return _charts(f"{side.capitalize()} similarity", probe_chart(plan, side), table)


def _gap(plan: Plan, side: str) -> list[dict[str, Any]]:
    table = curves_table(f"The {side} similarity, logits", gap_curves(plan, side), column="task", digits=2)
    return _charts(f"{side.capitalize()} similarity", gap_chart(plan, side), table)


def _matrices(run: Run, place: int) -> dict[str, Any]:
    def matrix(result: Result, number: int) -> dict[str, Any]:
        if len(result.records) <= CELLS:
            return {"label": result.label, "table": matrix_table(result), "svg": None}
        ends = zip(result.matrix.diagonal(), result.matrix[-1], strict=True)
        told = [f"task {n} from {percent(a)} to {percent(b)} %" for n, (a, b) in enumerate(ends, start=1)]
        label = Label(f"matrix-{place}-{number}", f"{result.label}: accuracy on each task", "; ".join(told) + ".")
        return {"label": result.label, "table": None, "svg": matrix_figure(result.matrix, label)}

    others = [result for result in run.results if result is not run.lead]
    return {
        "label": run.label,
        "first": matrix(run.lead, 0),
        "others": [matrix(result, n) for n, result in enumerate(others, start=1)],
    }


def _alphas(runs: Sequence[Run]) -> str:
    alphas = dict.fromkeys(run.setup.alpha for run in runs)
    return "alpha = " + ", ".join("null, no limit" if alpha is None else f"{alpha:g}" for alpha in alphas)


def _allowed(plan: Plan) -> str:
    """How many epochs each probe allowed, in words."""
    allowed: dict[int, list[Curve]] = {}
    for curve in probe_curves(plan, "negative", relative=False):
        if curve.result.probe:
            allowed.setdefault(curve.result.probe.epochs, []).append(curve)
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
    why = "written at the end of a method's run; earlier versions wrote none"
    if len(without) == len(results):
        return f"Not recorded: no method of {'these runs' if len(runs) > 1 else 'this run'} has a final.json ({why})."
    return f"Not recorded for {', '.join(without)}: without a final.json ({why})."
