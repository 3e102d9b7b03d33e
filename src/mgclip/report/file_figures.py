"""Figures in files of their own: accuracy of runs and tables, and the modality gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mgclip.experiment.gap_study import LOGITS, QUANTITIES, StudyTrace
from mgclip.experiment.geometry import Geometry
from mgclip.experiment.table_results import TableResult
from mgclip.method.gap_rule import LEAST_SIMILARITY
from mgclip.report.figures import COLOURS, JOINT_STYLE, STYLES, Line, curve_style, paint_lines, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = NDArray[np.float32]


def accuracy_figure(
    curves: Mapping[str, Sequence[float]],
    file: Path,
    *,
    title: str,
    spread: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write a figure of the accuracy after each task, with one curve per method, and a band of half height ``spread`` around
    it. All are shares of 1.

    A single value among longer curves belongs to a method that learned everything at once; it is drawn as a level line.
    """
    longest, lines = max(map(len, curves.values())), []
    for number, (method, values) in enumerate(curves.items()):
        style, colour = curve_style(number)
        if len(values) == 1 < longest:
            style = JOINT_STYLE
        band = None if spread is None else [100 * each for each in spread[method]]
        lines.append(Line([100 * value for value in values], (style, colour), name=method, spread=band))
    save_figure(
        lambda axes: paint_lines(axes, lines, ("tasks learned", "accuracy, %"), longest=longest),
        file,
        title,
        legend_columns=1 if len(curves) < 6 else 2,
    )


def curves_figure(rows: Sequence[TableResult], file: Path) -> None:
    """Write a figure of the accuracy after each task for every method of one recipe: mean and spread over runs."""
    after = {row.method: np.array(row.accuracy_after) for row in rows}
    means = {method: values.mean(0).tolist() for method, values in after.items()}
    spread = {m: v.std(0, ddof=1).tolist() for m, v in after.items()} if rows[0].seeds > 1 else None
    title = f"{rows[0].recipe}: accuracy over all classes seen" + (f", {rows[0].seeds} {rows[0].over}" if spread else "")
    accuracy_figure(means, file, title=title, spread=spread)


def change_figure(rows: Sequence[TableResult], file: Path) -> None:
    """Write a figure of the accuracies of each method of one recipe against the changed setting, with spread over runs."""
    changes = list(dict.fromkeys(row.change for row in rows))
    keys = list(dict.fromkeys(change.partition("=")[0] for change in changes))
    methods = dict.fromkeys(row.method for row in rows)
    headings = [name for name in ("Transfer", "Average", "Avg", "Last") if any(name in row.values for row in rows)]
    shown = [(method, name) for method in methods for name in headings]

    def paint(axes: Axes) -> None:
        for number, (method, name) in enumerate(shown):
            own = {row.change: row.values[name] for row in rows if row.method == method and name in row.values}
            means, errors = [100 * mean for mean, _ in own.values()], [100 * (sd or 0) for _, sd in own.values()]
            style, colour = curve_style(number)
            axes.errorbar(
                [changes.index(change) for change in own],
                means,
                errors if any(errors) else None,
                fmt=style,
                color=colour,
                label=f"{method}, {name}" if len(methods) > 1 else name,
                capsize=3,
            )
        values = [change.partition("=")[2].strip('"') for change in changes] if len(keys) == 1 else changes
        axes.set_xticks(range(len(changes)), ["none" if value == "null" else value for value in values])
        axes.set(xlabel=" and ".join(keys), ylabel="accuracy, %")

    title = f"{rows[0].recipe}: accuracy against {' and '.join(keys)}"
    save_figure(paint, file, title, legend_columns=len(shown) if len(shown) < 4 else 2, legend_below=True)


def projection_figure(images: Points, texts: Points, labels: NDArray[np.int64], file: Path, *, title: str) -> None:
    """Write a figure of images ``(n, 2)`` as dots and class texts ``(c, 2)`` as crosses (see ``paint_projection``)."""
    save_figure(lambda axes: paint_projection(axes, images, texts, labels), file, title)


def paint_projection(axes: Axes, images: Points, texts: Points, labels: NDArray[np.int64]) -> None:
    """Draw images as dots, class texts as crosses, and a line from the mean image of each class to its text."""
    for label, text in enumerate(texts):
        if (labels == label).any():  # a class without images has no mean
            mean = images[labels == label].mean(0)
            axes.plot([mean[0], text[0]], [mean[1], text[1]], color="#888888", linewidth=0.6, alpha=0.6, zorder=1)
    axes.scatter(images[:, 0], images[:, 1], s=10, color=COLOURS[0], alpha=0.5, linewidths=0, label="images")
    axes.scatter(texts[:, 0], texts[:, 1], s=42, color=COLOURS[1], marker="X", label="class texts")
    axes.set(xlabel="first principal axis", ylabel="second principal axis")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(frameon=False)


def track_figure(traces: Sequence[StudyTrace], file: Path, *, quantity: str, title: str, alpha: float | None = None) -> None:
    """Write a figure of one of ``QUANTITIES`` against optimizer steps, with a line per loss and epochs as ticks above.

    Those in ``LOGITS`` are drawn as logits. ``alpha``: half the height of a band around the first value, as the share of it
    that the method allows.
    """

    def paint(axes: Axes) -> None:
        curves = [[_value(point, quantity) for point in trace.points] for trace in traces]
        for number, (trace, values) in enumerate(zip(traces, curves, strict=True)):
            axes.plot(trace.steps, values, STYLES[number], color=COLOURS[number], label=trace.loss)
        if alpha is not None:
            start, height = curves[0][0], alpha * max(abs(curves[0][0]), LEAST_SIMILARITY)
            axes.axhspan(
                start - height,
                start + height,
                color="#999999",
                alpha=0.18,
                linewidth=0,
                label=f"within {100 * alpha:g} % of the start",
            )
        per_epoch = traces[0].steps_per_epoch
        to_epochs, to_steps = (lambda s: np.divide(s, per_epoch)), (lambda e: np.multiply(e, per_epoch))
        above = axes.secondary_xaxis("top", functions=(to_epochs, to_steps))
        above.set_xlabel("epoch")
        axes.set(xlabel="optimizer steps", ylabel=QUANTITIES[quantity] + (", logit" if quantity in LOGITS else ""))

    save_figure(paint, file, title)


def _value(point: Geometry, quantity: str) -> float:
    value: float = getattr(point, quantity)
    return value * point.logit_scale if quantity in LOGITS else value
