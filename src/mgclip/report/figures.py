"""Figures of a run, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from mgclip.disk import replace_file
from mgclip.experiment.reproduce import Row

STYLES = ("-o", "--s", "-^", ":D", "-.v", "-P", "--X", ":*")
"""Line and marker of each curve: told apart without colour."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Okabe and Ito's palette, made for colour-blind readers."""


def look(number: int) -> tuple[str, str]:
    """Style and colour of a curve; where colours come round again, they come with other styles."""
    return STYLES[(number + number // len(COLOURS)) % len(STYLES)], COLOURS[number % len(COLOURS)]


@contextmanager
def drawing(file: Path, title: str) -> Iterator[Any]:
    """Axes to draw into; the figure is saved at the end as SVG, the same bytes for the same content."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"svg.hashsalt": "mgclip", "svg.fonttype": "none", "font.size": 11}):
        figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
        axes.set_title(title)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        yield axes
        drawn = BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Title": title})
        plt.close(figure)
        replace_file(file, drawn.getvalue())


def accuracy_figure(
    curves: Mapping[str, Sequence[float]],
    file: Path,
    *,
    title: str,
    spread: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Accuracy after each task, one curve per method (shares of 1), with a band of +- ``spread`` where given.

    A method with a single point among longer ones learned everything at once: it is drawn as a level line.
    """
    from matplotlib.ticker import MaxNLocator

    longest = max(map(len, curves.values()))
    with drawing(file, title) as axes:
        for number, (method, values) in enumerate(curves.items()):
            tasks, percent = range(1, len(values) + 1), [100 * value for value in values]
            style, colour = look(number)
            if len(values) == 1 < longest:
                axes.axhline(percent[0], linestyle=(0, (1, 3)), color=colour, label=method)
                continue
            axes.plot(tasks, percent, style, color=colour, label=method, markersize=5)
            if spread is not None:
                low = [100 * (v - s) for v, s in zip(values, spread[method], strict=True)]
                high = [100 * (v + s) for v, s in zip(values, spread[method], strict=True)]
                axes.fill_between(tasks, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel="tasks learned", ylabel="accuracy, %")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, ncols=1 if len(curves) < 6 else 2, fontsize=9 if len(curves) > 4 else None)


def curves_figure(rows: Sequence[Row], file: Path) -> None:
    """Accuracy after each task of every method of one recipe, mean and spread over seeds."""
    after = {row.method: np.array(row.accuracy_after) for row in rows}
    spread = {m: v.std(0, ddof=1).tolist() for m, v in after.items()} if rows[0].seeds > 1 else None
    title = f"{rows[0].recipe}: accuracy over all classes seen" + (f", {rows[0].seeds} seeds" if spread else "")
    accuracy_figure(
        {method: values.mean(0).tolist() for method, values in after.items()}, file, title=title, spread=spread
    )


def change_figure(rows: Sequence[Row], file: Path) -> None:
    """Avg and Last of each method of one recipe against the value of the changed setting, with spread over seeds."""
    changes = list(dict.fromkeys(row.change for row in rows))
    key = changes[0].split("=")[0]
    methods = dict.fromkeys(row.method for row in rows)
    with drawing(file, f"{rows[0].recipe}: accuracy against {key}") as axes:
        looks = [(method, name) for method in methods for name in ("Avg", "Last")]
        for number, (method, name) in enumerate(looks):
            own = {row.change: row.values[name] for row in rows if row.method == method and name in row.values}
            places = [changes.index(change) for change in own]
            means, errors = (
                [100 * mean for mean, _ in own.values()],
                [100 * (spread or 0) for _, spread in own.values()],
            )
            label = f"{method}, {name}" if len(methods) > 1 else name
            axes.errorbar(
                places, means, errors if any(errors) else None, fmt=STYLES[number % len(STYLES)],
                color=COLOURS[number % len(COLOURS)], label=label, markersize=5, capsize=3,
            )  # fmt: skip
        values = [change.partition("=")[2].strip('"') for change in changes]
        axes.set_xticks(range(len(changes)), ["none" if value == "null" else value for value in values])
        axes.set(xlabel=key, ylabel="accuracy, %")
        axes.legend(
            frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(looks) if len(looks) < 4 else 2
        )
