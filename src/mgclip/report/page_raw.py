"""What a report shows of raw results: each branch alone, paired tests between methods, and the loss."""

from __future__ import annotations

from collections.abc import Sequence

from mgclip.experiment import raw_results
from mgclip.experiment.paired import Finished, Pair, compare_results
from mgclip.report.page_charts import Chart, ChartPlan, ChartSpec, Curve, make_chart
from mgclip.report.page_tables import Cell, Row, Table, percent, points
from mgclip.report.run_data import Result, Run, all_results, group_notes, repeated


def branches_table(runs: Sequence[Run]) -> Table | None:
    """The accuracy of each result after its last task, and that of each of its branches alone."""
    rows = []
    for result in all_results(runs):
        found = raw_results.read_task(result.folder, "predictions", len(result.records) - 1)
        if found is None:
            continue
        shares = [float((found["class"] == found[column]).mean()) for column in ("answer", "text_answer")]
        image = float((found["class"] == found["head_answer"]).mean()) if "head_answer" in found else None
        rows.append(Row(result.label, [Cell(percent(share, 2)) for share in (*shares, image)]))
    head = ["method", "text branch alone", "image branch alone"]
    return Table("Accuracy after the last task, %", "method", head, rows) if rows else None


def pairs_table(runs: Sequence[Run]) -> Table | None:
    """Every two methods that all runs of one stream have finished, compared image by image; runs may differ in their seed or
    numbered class order.
    """
    groups, rows = repeated(runs), []
    for group, note in zip(groups, group_notes(groups), strict=True):
        methods = [result.method for result in group[0].results]
        pairs = compare_results({method: [_finished(run, method) for run in group] for method in methods})
        rows += [_row(group, pair, note, several=len(groups) > 1) for pair in pairs]
    head = ["difference", "95 % interval", "p", "images", "groups", "runs"]
    return Table("Difference in accuracy after the last task, points", "methods", head, rows) if rows else None


def _finished(run: Run, method: str) -> Finished | None:
    result = next((each for each in run.results if each.method == method and each.finished), None)
    return None if result is None else (result.folder, len(result.records))


def _row(group: Sequence[Run], pair: Pair, note: str, *, several: bool) -> Row:
    where = f"{group[0].setup.name}: " if several else ""
    interval = f"{points(pair.low)} to {points(pair.high)}"
    counts = f"{pair.images:,}", f"{pair.groups:,}", str(pair.seeds)
    cells = [points(pair.difference), interval, f"{pair.p:.2g}", *counts]
    return Row(f"{where}{pair.first} − {pair.second}", [Cell(text) for text in cells], note=note)


def loss_charts(plan: ChartPlan) -> list[tuple[str, Chart]]:
    """For each phase of training, the mean loss of its epochs, all tasks in a row."""
    curves: dict[str, list[Curve]] = {}
    for result in all_results(plan.runs):
        for phase, losses in _losses(result).items():
            curves.setdefault(phase, []).append(Curve(result, plan.name(result), losses))
    charts = []
    for phase, own in curves.items():
        spec = ChartSpec(f"loss-{phase}", f"Loss of the phase {phase}", ("epochs of all tasks", "mean loss"))
        charts.append((phase, make_chart(plan, own, spec)))
    return charts


def _losses(result: Result) -> dict[str, list[float]]:
    """The mean loss of each epoch, by phase, task after task."""
    found = raw_results.read(result.folder, "steps", len(result.records))
    if found is None or found.empty:
        return {}
    found["phase"] = found["phase"].astype(str)
    means = found.groupby(["phase", "task", "epoch"], sort=True)["loss"].mean()
    return {str(phase): means[phase].tolist() for phase in dict.fromkeys(found["phase"])}
