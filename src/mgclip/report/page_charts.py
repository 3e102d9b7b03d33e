"""The charts of runs: which curves stand together, how they look, what their legends and alternative texts say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mgclip.experiment.run_files import Probe
from mgclip.report.figures import look
from mgclip.report.page_figures import LEVEL, NARROW, WIDE, Label, Line, Look, lines_figure, swatch
from mgclip.report.run_data import Result, Run

MOST = 12
"""Curves in one figure; where there are more results than that, each run gets a figure of its own."""
PALE = 20
"""Curves up to which such a figure shows those of the other runs too, pale."""


@dataclass(frozen=True)
class Curve:
    """Values of one result, in percent or logits, beginning at ``first``; ``name`` stands in the legend."""

    result: Result
    name: str
    values: Sequence[float | None]
    first: int = 1


@dataclass(frozen=True)
class Panel:
    """One figure and the run it shows; no caption where it shows all."""

    caption: str
    svg: Markup


@dataclass(frozen=True)
class Chart:
    """Figures that share axes and a legend. ``pale``: each shows the curves of the other runs behind its own."""

    panels: Sequence[Panel]
    legend: Sequence[tuple[Markup, str]]
    pale: bool


@dataclass(frozen=True)
class Kind:
    """What a chart shows: a name for its ids, its title, the names of its axes, a unit, and the levels across a run's figure."""

    ident: str
    title: str
    names: tuple[str, str]
    unit: str = ""
    levels: Callable[[Run], Sequence[float]] = lambda run: ()


@dataclass(frozen=True)
class Plan:
    """How curves are told apart all over one page: a look for each result, and whether each run has figures of its own."""

    runs: Sequence[Run]
    looks: Mapping[str, Look]
    split: bool

    def name(self, result: Result) -> str:
        """What a legend calls a result."""
        return result.method if self.split else result.label


def make_plan(runs: Sequence[Run]) -> Plan:
    """One look for each result while one figure holds them all, else one for each method."""
    results = [result for run in runs for result in run.results]
    split = len(runs) > 1 and len(results) > MOST
    keys = list(dict.fromkeys(result.method if split else result.label for result in results))
    looks = {}
    for result in results:
        style, colour = look(keys.index(result.method if split else result.label))
        looks[result.label] = (LEVEL if result.joint else style, colour)
    return Plan(runs, looks, split)


def accuracy_curves(plan: Plan) -> list[Curve]:
    """Accuracy over all classes seen, after each task, in percent."""
    results = [result for run in plan.runs for result in run.results]
    return [Curve(each, plan.name(each), [100 * share for share in each.summary["accuracy_after"]]) for each in results]


def accuracy_chart(plan: Plan) -> Chart | None:
    """The same as a chart."""
    names = "tasks learned", "accuracy, %"
    kind = Kind("accuracy", "Accuracy over all classes seen, after each task", names, " %")
    return _chart(plan, accuracy_curves(plan), kind)


def gap_curves(plan: Plan, side: str) -> list[Curve]:
    """The positive or the negative similarity after each task, of the results where it was measured."""
    results = [result for run in plan.runs for result in run.results]
    found = [Curve(each, plan.name(each), [getattr(record.gap, side) for record in each.records]) for each in results]
    return [curve for curve in found if any(value is not None for value in curve.values)]


def gap_chart(plan: Plan, side: str) -> Chart | None:
    """A similarity after each task."""
    names = "tasks learned", f"{side} similarity"
    return _chart(plan, gap_curves(plan, side), Kind(f"gap-{side}", f"The {side} similarity after each task", names))


def probe_curves(plan: Plan, side: str, *, relative: bool) -> list[Curve]:
    """What each probe saw, from the origin on, as logits or as change in percent of the origin; equal probes of a run once."""
    seen: dict[tuple[str, Probe], list[Result]] = {}
    for result in (result for run in plan.runs for result in run.results):
        if result.probe is not None:
            seen.setdefault((result.run, result.probe), []).append(result)
    curves = []
    for (_, probe), results in seen.items():
        values: Sequence[float | None] = getattr(probe, side)
        origin = getattr(probe, side)[0]
        if relative:
            values = [100 * (value - origin) / abs(origin) if origin else None for value in getattr(probe, side)]
        name = ", ".join([plan.name(results[0]), *(result.method for result in results[1:])])
        curves.append(Curve(results[0], name, values, first=0))
    return curves


def probe_chart(plan: Plan, side: str) -> Chart | None:
    """The change of a similarity over the probe's epochs; for the negative one with the lines that alpha draws."""

    def levels(run: Run) -> list[float]:
        alpha = run.setup.alpha
        return [] if side == "positive" or alpha is None else [-100 * alpha, 100 * alpha]

    names, title = (
        ("epochs of the probe", "change, % of the origin"),
        f"Change of the {side} similarity over the probe's epochs",
    )
    return _chart(plan, probe_curves(plan, side, relative=True), Kind(f"probe-{side}", title, names, " %", levels))


def _chart(plan: Plan, curves: Sequence[Curve], kind: Kind) -> Chart | None:
    if not curves:
        return None
    shown = [run for run in plan.runs if any(curve.result.run == run.label for curve in curves)]
    levels = sorted({level for run in shown for level in kind.levels(run)})
    groups = [("", list(curves), levels)]
    if plan.split:
        groups = [
            (run.label, [c for c in curves if c.result.run == run.label], sorted(kind.levels(run))) for run in shown
        ]
    values = [value for curve in curves for value in curve.values if value is not None] + levels
    margin = 0.05 * (max(values) - min(values)) or 1.0
    limits, pale, panels = (min(values) - margin, max(values) + margin), plan.split and len(curves) <= PALE, []
    for number, (caption, own, across) in enumerate(groups):
        behind = [curve for curve in curves if pale and curve not in own]
        svg = lines_figure(
            _lines(plan, own), _label(kind, number, caption, own, across), names=kind.names, limits=limits, levels=across,
            behind=_lines(plan, behind), size=NARROW if plan.split else WIDE,
        )  # fmt: skip
        panels.append(Panel(caption, svg))
    return Chart(panels, _legend(plan, curves, kind.ident), pale)


def _lines(plan: Plan, curves: Sequence[Curve]) -> list[Line]:
    """Curves as they are drawn: mg-clip's is the strongest, where there are other methods too."""
    several = len({curve.result.method for curve in curves}) > 1
    return [
        Line(curve.values, plan.looks[curve.result.label], curve.first, several and curve.result.method == "mg-clip")
        for curve in curves
    ]


def _label(kind: Kind, number: int, caption: str, curves: Sequence[Curve], levels: Sequence[float]) -> Label:
    told = "; ".join(_tell(curve, kind.unit) for curve in curves) + "."
    if levels:
        told += f" Dashed lines at {' and '.join(f'{level:+g}{kind.unit}' for level in levels)}."
    return Label(f"{kind.ident}-{number}", f"{kind.title}, {caption}" if caption else kind.title, told)


def _legend(plan: Plan, curves: Sequence[Curve], ident: str) -> list[tuple[Markup, str]]:
    """Each name once; in a single figure in the order in which the curves end."""
    first: dict[str, Curve] = {}
    for curve in curves:
        first.setdefault(curve.name, curve)
    entries = list(first.values())
    if not plan.split:
        entries.sort(key=lambda curve: -(curve.values[-1] or 0.0))
    return [
        (swatch(plan.looks[curve.result.label], f"{ident}-legend-{n}"), curve.name) for n, curve in enumerate(entries)
    ]


def _tell(curve: Curve, unit: str) -> str:
    numbers = [f"{value:.1f}{unit}" for value in curve.values if value is not None]
    return f"{curve.name} " + (
        f"{numbers[0]} throughout" if len(numbers) == 1 else f"from {numbers[0]} to {numbers[-1]}"
    )
