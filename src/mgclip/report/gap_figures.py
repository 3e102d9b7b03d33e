"""Pictures of the modality gap: where images and texts lie, and how fine-tuning moves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgclip.experiment.gap_study import Trace
from mgclip.report.figures import COLOURS, STYLES, drawing

Points = NDArray[np.float32]


def projection_figure(images: Points, texts: Points, labels: NDArray[np.int64], file: Path, *, title: str) -> None:
    """Images ``(n, 2)`` as dots, texts ``(c, 2)`` as crosses, a line from each class's mean image to its text."""
    with drawing(file, title) as axes:
        projection_axes(axes, images, texts, labels)


def projection_axes(axes: Any, images: Points, texts: Points, labels: NDArray[np.int64]) -> None:
    """The same into axes; classes without an image get no line."""
    for label, text in enumerate(texts):
        if (labels == label).any():
            own = images[labels == label].mean(0)
            axes.plot([own[0], text[0]], [own[1], text[1]], color="#888888", linewidth=0.6, alpha=0.6, zorder=1)
    axes.scatter(*images.T, s=10, color=COLOURS[0], alpha=0.5, linewidths=0, label="images")
    axes.scatter(*texts.T, s=42, color=COLOURS[1], marker="X", label="class texts")
    axes.set(xlabel="first principal axis", ylabel="second principal axis")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(frameon=False)


def track_figure(traces: Sequence[Trace], file: Path, *, quantity: str, title: str, alpha: float | None = None) -> None:
    """One quantity of the geometry against optimizer steps, a line for each loss, epochs as ticks above.

    ``negative`` and ``positive`` are drawn as the method's logits, with the band of +- ``alpha`` around the first value.
    """
    with drawing(file, title) as axes:
        for number, trace in enumerate(traces):
            factor = trace.points[0].logit_scale if quantity in ("positive", "negative") else 1.0
            values = [factor * getattr(point, quantity) for point in trace.points]
            axes.plot(trace.steps, values, STYLES[number], color=COLOURS[number], label=trace.loss, markersize=4)
        if alpha is not None and traces:
            start = traces[0].points[0].logit_scale * getattr(traces[0].points[0], quantity)
            low, high = sorted((start * (1 - alpha), start * (1 + alpha)))
            axes.axhspan(
                low, high, color="#999999", alpha=0.18, linewidth=0, label=f"within {100 * alpha:g} % of the start"
            )
        per_epoch = traces[0].steps_per_epoch
        above = axes.secondary_xaxis("top", functions=(lambda s: s / per_epoch, lambda e: e * per_epoch))
        above.set_xlabel("epoch")
        axes.set(xlabel="optimizer steps", ylabel=LABELS[quantity])
        axes.legend(frameon=False)


LABELS = {
    "positive": "similarity of matching pairs (logit)",
    "negative": "similarity of non-matching pairs (logit)",
    "centroid_distance": "distance of mean image and mean text",
    "image_cone": "mean cosine of two images",
    "text_cone": "mean cosine of two class texts",
    "separability": "accuracy of telling images from texts",
    "accuracy": "zero-shot accuracy",
}
"""The quantities that can be drawn, and what they are called."""
