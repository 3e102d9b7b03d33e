"""The charts of runs: which curves are in one figure, their styles, legends and descriptions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from mgclip.method.gap_rule import LEAST_SIMILARITY, relative_change
from mgclip.report.figures import JOINT_STYLE, NARROW, WIDE, Label, Line, Style, curve_style, swatch
from mgclip.report.page_figures import lines_figure
from mgclip.report.run_data import Result, Run, all_results

MAX_CURVES = 12
"""Curves in one figure. If there are more, each run gets its own figure."""
MAX_PALE = 20
"""If there are at most this many curves, such a figure also shows those of the other runs, pale."""

Side = Literal["negative", "positive"]
"""The similarity of other pairs, or of matching ones."""


@dataclass(frozen=True)
class Curve:
    """Values of one result, in percent or logits, starting at ``first``; ``name`` is its entry in the legend."""

    result: Result
    name: str
    values: Sequence[float | None]
    first: int = 1


@dataclass(frozen=True)
class Chart:
    """Figures with the same axes and legend.

    ``panels``: each figure with its run as the caption, which is empty if it shows all runs. ``pale``: each also shows the curves
    of the other runs, pale.
    """

    panels: Sequence[tuple[str, Markup]]
    legend: Sequence[tuple[Markup, str]]
    pale: bool


@dataclass(frozen=True)
class ChartSpec:
    """What a chart shows: a name for its ids, title, axis labels, unit, and whether it has dashed lines at -alpha and alpha."""

    ident: str
    title: str
    axis_labels: tuple[str, str]
    unit: str = ""
    alpha_lines: bool = False

    def levels(self, run: Run) -> list[float]:
        """The dashed lines in the figure of a run, in percent."""
        alpha = run.setup.alpha if self.alpha_lines else None
        return [] if alpha is None else [-100 * alpha, 100 * alpha]


@dataclass(frozen=True)
class ChartPlan:
    """The styles of curves on a page, by label of the result, and whether each run has its own figures."""

    runs: Sequence[Run]
    styles: Mapping[str, Style]
    split: bool

    def name(self, result: Result) -> str:
        """The name of a result in a legend."""
        return result.method if self.split else result.label


def plan_charts(runs: Sequence[Run]) -> ChartPlan:
    """Give each result a style if one figure holds them all, otherwise each method."""
    results = all_results(runs)
    split = len(runs) > 1 and len(results) > MAX_CURVES
    names = [result.method if split else result.label for result in results]
    distinct, styles = list(dict.fromkeys(names)), {}
    for result, name in zip(results, names, strict=True):
        style, colour = curve_style(distinct.index(name))
        styles[result.label] = (JOINT_STYLE if result.joint else style, colour)
    return ChartPlan(runs, styles, split)


def accuracy_curves(plan: ChartPlan) -> list[Curve]:
    """Accuracy over all classes seen, after each task, in percent."""
    return [
        Curve(each, plan.name(each), [100 * share for share in each.summary["accuracy_after"]]) for each in all_results(plan.runs)
    ]


def gap_curves(plan: ChartPlan, side: Side) -> list[Curve]:
    """A similarity after each task, of the results for which it was measured."""
    curves = [Curve(each, plan.name(each), [record["gap"][side] for record in each.records]) for each in all_results(plan.runs)]
    return [curve for curve in curves if any(value is not None for value in curve.values)]


def probe_curves(plan: ChartPlan, side: Side, *, relative: bool) -> list[Curve]:
    """A similarity during each probe, as logits or as its change in percent. Equal probes of a run appear once."""
    seen: dict[tuple[str, str], list[Result]] = {}
    for result in all_results(plan.runs):
        if result.probe is not None:
            seen.setdefault((result.run, json.dumps(result.probe)), []).append(result)
    curves = []
    for results in seen.values():
        probe = results[0].probe
        assert probe is not None
        values: Sequence[float | None] = probe[side]
        initial = probe[side][0]
        if relative:
            values = [100 * relative_change(value, initial, LEAST_SIMILARITY) for value in probe[side]]
        name = ", ".join([plan.name(results[0]), *(result.method for result in results[1:])])
        curves.append(Curve(results[0], name, values, first=0))
    return curves


def make_chart(plan: ChartPlan, curves: Sequence[Curve], spec: ChartSpec) -> Chart:
    """Draw curves: in one figure, or in one for each run."""
    shown = [run for run in plan.runs if any(curve.result.run == run.label for curve in curves)]
    levels = sorted({level for run in shown for level in spec.levels(run)})
    groups = [("", list(curves), levels)]
    if plan.split:
        groups = [(run.label, [c for c in curves if c.result.run == run.label], sorted(spec.levels(run))) for run in shown]
    values = [value for curve in curves for value in curve.values if value is not None] + levels
    margin = 0.05 * (max(values) - min(values)) or 1.0
    limits, pale, panels = (min(values) - margin, max(values) + margin), plan.split and len(curves) <= MAX_PALE, []
    for number, (caption, own, own_levels) in enumerate(groups):
        background = [curve for curve in curves if pale and curve not in own]
        svg = lines_figure(
            _lines(plan, own),
            _label(spec, number, caption, own, own_levels),
            axis_labels=spec.axis_labels,
            limits=limits,
            levels=own_levels,
            background=_lines(plan, background),
            size=NARROW if plan.split else WIDE,
        )
        panels.append((caption, svg))
    return Chart(panels, _legend(plan, curves, spec.ident), pale)


def _lines(plan: ChartPlan, curves: Sequence[Curve]) -> list[Line]:
    """Curves with their styles. The one of mg-clip is the strongest if there are other methods."""
    several = len({curve.result.method for curve in curves}) > 1
    return [
        Line(curve.values, plan.styles[curve.result.label], curve.first, several and curve.result.method == "mg-clip")
        for curve in curves
    ]


def _label(spec: ChartSpec, number: int, caption: str, curves: Sequence[Curve], levels: Sequence[float]) -> Label:
    description = "; ".join(_describe(curve, spec.unit) for curve in curves) + "."
    if levels:
        description += f" Dashed lines at {' and '.join(f'{level:+g}{spec.unit}' for level in levels)}."
    return Label(f"{spec.ident}-{number}", f"{spec.title}, {caption}" if caption else spec.title, description)


def _legend(plan: ChartPlan, curves: Sequence[Curve], ident: str) -> list[tuple[Markup, str]]:
    """Each name once; in a single figure, in the order of the last values, the highest first."""
    first: dict[str, Curve] = {}
    for curve in curves:
        first.setdefault(curve.name, curve)
    entries = list(first.values())
    if not plan.split:
        entries.sort(key=lambda curve: -(curve.values[-1] or 0.0))
    return [(swatch(plan.styles[curve.result.label], f"{ident}-legend-{n}"), curve.name) for n, curve in enumerate(entries)]


def _describe(curve: Curve, unit: str) -> str:
    numbers = [f"{value:.1f}{unit}" for value in curve.values if value is not None]
    return f"{curve.name} " + (f"{numbers[0]} throughout" if len(numbers) == 1 else f"from {numbers[0]} to {numbers[-1]}")
