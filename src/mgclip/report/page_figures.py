"""The figures of a page: curves, a histogram, an accuracy matrix, a confusion matrix, a reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from mgclip.experiment.evaluation import CalibrationBin
from mgclip.experiment.metrics import Matrix
from mgclip.report.figures import COLOURS, DASHED, LARGE, SHALLOW, SQUARE, WIDE, Label, Line, draw, paint_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def lines_figure(
    lines: Sequence[Line],
    label: Label,
    *,
    axis_labels: tuple[str, str],
    limits: tuple[float, float],
    levels: Sequence[float] = (),
    background: Sequence[Line] = (),
    size: tuple[float, float] = WIDE,
) -> Markup:
    """Curves over tasks or epochs, with dashed lines at ``levels`` and pale curves in the background."""
    longest = max(len(line.values) for line in (*lines, *background))

    def paint(axes: Axes) -> None:
        for line in background:
            positions = range(line.first, line.first + len(line.values))
            axes.plot(positions, np.array(line.values, dtype=float), color="#999999", linewidth=0.8, alpha=0.6)
        for level in levels:
            axes.axhline(level, linestyle=DASHED, color="#000000", linewidth=1)
        paint_lines(axes, lines, axis_labels, longest=longest, ticks=10 if size == WIDE else 6)
        axes.set_ylim(limits)

    return draw(paint, label, size=size)


def share_histogram(shares: Sequence[float], label: Label) -> Markup:
    """The number of classes in each twentieth of the accuracies from 0 to 1."""

    def paint(axes: Axes) -> None:
        counts, edges = np.histogram(100 * np.asarray(shares), bins=20, range=(0, 100))
        axes.bar(edges[:-1], counts, width=5, align="edge", color=COLOURS[0], edgecolor="#000000", linewidth=0.6)
        axes.set(xlabel="accuracy of a class, %", ylabel="classes", xlim=(0, 100))

    return draw(paint, label, size=SHALLOW)


def matrix_figure(matrix: Matrix, label: Label) -> Markup:
    """The accuracies ``(tasks, tasks)`` as colours, for more tasks than numbers fit."""

    def paint(axes: Axes) -> None:
        count, shown = len(matrix), np.where(np.tri(len(matrix), dtype=bool), 100 * matrix, np.nan)
        extent = (0.5, count + 0.5, count + 0.5, 0.5)
        image = axes.imshow(shown, cmap="cividis", vmin=0, vmax=100, interpolation="nearest", extent=extent, aspect="auto")
        axes.grid(False)
        axes.set(xlabel="task", ylabel="tasks learned")
        axes.figure.subplots_adjust(right=0.86)
        axes.figure.colorbar(image, ax=axes, label="accuracy, %")

    return draw(paint, label, size=SQUARE)


def confusion_figure(shares: NDArray[np.float64], label: Label) -> Markup:
    """The share of each answer (column) among the images of each class (row), for more classes than names fit.

    Colours follow the square root of the share, because a mistake is a small share of a class.
    """

    def paint(axes: Axes) -> None:
        from matplotlib.colors import PowerNorm
        from matplotlib.ticker import MaxNLocator

        count = len(shares)
        extent = (0.5, count + 0.5, count + 0.5, 0.5)
        norm = PowerNorm(0.5, vmin=0, vmax=100)
        image = axes.imshow(100 * shares, cmap="cividis", norm=norm, interpolation="nearest", extent=extent, aspect="auto")
        axes.grid(False)
        axes.set(xlabel="answer (number of the class)", ylabel="class (number)")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=2))
        axes.figure.subplots_adjust(right=0.86)
        axes.figure.colorbar(image, ax=axes, label="share of the images of the class, %", ticks=[0, 5, 25, 50, 100])

    return draw(paint, label, size=LARGE)


def reliability_figure(bins: Sequence[CalibrationBin], label: Label) -> Markup:
    """Accuracy against confidence, a bar for each bin with images, and the diagonal on which both agree."""

    def paint(axes: Axes) -> None:
        lows, widths = [100 * part["low"] for part in bins], [100 * (part["high"] - part["low"]) for part in bins]
        accuracies = [100 * (part["accuracy"] or 0.0) for part in bins]
        confidences = [100 * (part["confidence"] or 0.0) for part in bins]
        axes.bar(lows, accuracies, width=widths, align="edge", color=COLOURS[5], edgecolor="#000000", linewidth=0.6)
        axes.plot([0, 100], [0, 100], linestyle=DASHED, color="#000000", linewidth=1)
        axes.plot(confidences, accuracies, "D", color=COLOURS[1], markersize=5)
        axes.set(xlabel="confidence, %", ylabel="accuracy, %", xlim=(0, 100), ylim=(0, 102))

    return draw(paint, label, size=SQUARE)
