"""Figures of a run, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

STYLES = ("-o", "--s", "-^", ":D", "-.v", "-P", "--X", ":*")
"""Line and marker of each curve: told apart without colour."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Okabe and Ito's palette, made for colour-blind readers."""


def accuracy_figure(
    curves: Mapping[str, Sequence[float]],
    file: Path,
    *,
    title: str,
    spread: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Accuracy after each task, one curve per method (shares of 1), with a band of +- ``spread`` where given."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    with plt.rc_context({"svg.hashsalt": "mgclip", "svg.fonttype": "none", "font.size": 11}):
        figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
        for number, (method, values) in enumerate(curves.items()):
            tasks, percent = range(1, len(values) + 1), [100 * value for value in values]
            look = number % len(STYLES)
            axes.plot(tasks, percent, STYLES[look], color=COLOURS[look], label=method, markersize=5)
            if spread is not None:
                low = [100 * (v - s) for v, s in zip(values, spread[method], strict=True)]
                high = [100 * (v + s) for v, s in zip(values, spread[method], strict=True)]
                axes.fill_between(tasks, low, high, color=COLOURS[look], alpha=0.15, linewidth=0)
        axes.set(title=title, xlabel="tasks learned", ylabel="accuracy, %")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        figure.savefig(file, metadata={"Date": None, "Title": title})
        plt.close(figure)
