"""Draw the measurements of solved_head.py: accuracy over images per class, calibration, and the ROC curves of unknown classes.

python benchmarks/solved_head_figures.py solved-head.jsonl docs
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from solved_head import RATES

from mgclip.report.figures import DASHED, curve_style, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[dict[str, Any]]
CALIBRATED = (1, 4, 20, 100)
"""Numbers of images per class for which the calibration is drawn, if they were measured."""
FEWEST = 10
"""The fewest answers in a bin of confidence, over all seeds, for which it has a point."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, help="what solved_head.py printed")
    parser.add_argument("folder", type=Path, help="folder for the figures")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.measured.read_text().splitlines()]
    seeds = len({row["seed"] for row in rows})
    few, unknown = [row for row in rows if "bins" in row], [row["unknown"] for row in rows if "unknown" in row]
    figures: dict[str, tuple[Callable[[Axes, Rows], None], Rows, str]] = {
        "few-images.svg": (paint_few, few, "icons100: accuracy over 100 classes after the last task"),
        "calibration.svg": (paint_calibration, few, "icons100: how often answers of a confidence are right"),
        "unknown.svg": (paint_unknown, unknown, "icons100: 50 classes learned, 50 unknown"),
    }
    for name, (paint, measured, title) in figures.items():
        save_figure(lambda axes, p=paint, m=measured: p(axes, m), args.folder / name, f"{title}, {seeds} seeds")  # type: ignore[misc]


def paint_few(axes: Axes, rows: Rows) -> None:
    """Accuracy over the images of a class, mean and standard deviation over the seeds."""
    counts = sorted({row["images per class"] for row in rows})
    named = {"accuracy": "mg-clip-analytic", "svm": "RBF SVM on all images at once", "text": "texts alone (zero-shot)"}
    for number, (key, name) in enumerate(named.items()):
        found = {
            count: [100 * row[key] for row in rows if row["images per class"] == count]
            for count in counts
            if count > 1 or key != "svm"
        }
        style, colour = curve_style(number)
        mean, spread = (np.array([measure(values) for values in found.values()]) for measure in (np.mean, _deviation))
        axes.plot(list(found), mean, style, color=colour, label=name)
        axes.fill_between(list(found), mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    axes.set(xscale="log", xlabel="images per class", ylabel="accuracy, %")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()


def paint_calibration(axes: Axes, rows: Rows) -> None:
    """Accuracy over confidence, in ten bins over the answers of all seeds, without nearly empty ones. A perfect model is the diagonal."""
    axes.plot([0, 100], [0, 100], linestyle=DASHED, color="#000000", linewidth=1, label="perfect")
    for number, count in enumerate(CALIBRATED):
        bins = np.array([row["bins"] for row in rows if row["images per class"] == count], dtype=float)  # [seeds, bins, 3]
        if not len(bins):
            continue
        weight = bins[..., 2]
        seen = weight.sum(0) >= FEWEST
        points = [100 * (np.nan_to_num(bins[..., part]) * weight).sum(0)[seen] / weight.sum(0)[seen] for part in (0, 1)]
        style, colour = curve_style(number)
        axes.plot(*points, style, color=colour, label="1 image per class" if count == 1 else f"{count} images per class")
    axes.set(xlabel="confidence, %", ylabel="right answers, %", xlim=(0, 101), ylim=(0, 101))


def paint_unknown(axes: Axes, rows: Rows) -> None:
    """Mean ROC curve of each score over the seeds."""
    for number, name in enumerate(rows[0]["curves"]):
        curves, areas = np.array([row["curves"][name] for row in rows]), [row[name] for row in rows]
        style, colour = curve_style(number)
        label = f"{name}, area {np.mean(areas):.3f} ± {_deviation(areas):.3f}"
        axes.plot(100 * RATES, 100 * curves.mean(0), style, color=colour, markevery=5, label=label)
    axes.set(xlabel="images of unknown classes taken for known, %", ylabel="images of known classes recognised as such, %")


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation over the seeds; 0 for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
