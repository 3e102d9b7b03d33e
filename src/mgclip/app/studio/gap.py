"""The tab *Gap*: images and class texts in one plane, with their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size

from mgclip.app.studio.drop import Limits, drop_zone, errors_with_places, places_of, safely, uploads
from mgclip.app.studio.look import area, render
from mgclip.app.studio.work import Map, StudioModel
from mgclip.report.figures import COLOURS
from mgclip.report.thumbnails import thumbnail

WIDE, TALL = (900, 560, 60), (420, 520, 20)
"""The drawing on a wide screen and on a phone: width and height in its own units, and the number of class texts with a label."""
SIDE, EDGE = 0.12, 40
"""Margins of the drawing: a share of its width, and at top and bottom."""
PICTURE = 34
"""Side of a picture in the drawing."""
LETTER, LINE = 9.0, 17
"""Width of a narrow letter and height of a line of its labels. A wide letter, as in Chinese, is as two narrow ones."""
LONGEST_LABEL = 24
"""Narrow letters of a label; the complete name appears under the pointer."""
PICTURES = 40
"""At most this many images are drawn as pictures, more as dots."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Mark:
    """Something drawn: a point, its name, its colour, and where its label starts, if it has one."""

    x: float
    y: float
    name: str
    colour: str
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"
    picture: str | None = None


def gap_tab(model: StudioModel, limits: Limits) -> None:
    """Build the tab."""
    with gr.Row(elem_classes="panes"):
        with gr.Column(elem_classes="controls"):
            dropped = drop_zone("gap-images", limits)
            button = gr.Button("Draw", variant="primary", elem_id="gap-button")
        with gr.Column(elem_classes="results"):
            done = area("gap-message", kind="outcome")
            drawn = area("gap-picture", render("no_gap"), heard=True)

    def draw(value: str) -> tuple[str, str]:
        places = places_of(uploads(value, limits))
        with errors_with_places(places):
            found = model.map(list(places))
        return map_html(found, list(places), places), ""

    button.click(safely(draw, render("no_gap")), [dropped], [drawn, done], api_name="draw")


def map_html(found: Map, files: Sequence[Path], places: Mapping[Path, Sequence[str]] = {}) -> str:
    """The drawing: images near what they look like, class texts with their names, a line from each text to its mean image.

    ``places``: where each file was, if that is not its path.
    """
    where = [", ".join(places.get(file, [file.name])) for file in files]
    names = [f"{place}: {found.names[label]}" for place, label in zip(where, found.labels.tolist(), strict=True)]
    pictures = [thumbnail(file, 2 * PICTURE) if len(files) <= PICTURES else None for file in files]
    drawings = [_drawing(found, names, pictures, kind, *size) for kind, size in (("wide", WIDE), ("tall", TALL))]
    counts = {"images": len(files), "texts": len(found.names), "some": TALL[-1]}
    return render("gap", drawings=drawings, **counts, side=PICTURE, version=found.version)


def _drawing(
    found: Map, names: Sequence[str], pictures: Sequence[str | None], kind: str, width: int, height: int, most: int
) -> dict[str, object]:
    images, texts = _placed(found.images, found.texts, width, height)
    colours = [COLOURS[label % len(COLOURS)].replace("#000000", "currentColor") for label in range(len(found.names))]
    labels = found.labels.tolist()
    dots = [
        Mark(x, y, name, colours[label], picture=picture)
        for (x, y), name, label, picture in zip(images.tolist(), names, labels, pictures, strict=True)
    ]
    lines = [
        (*images[found.labels == label].mean(0).tolist(), *texts[label].tolist(), colours[label]) for label in sorted(set(labels))
    ]
    answered = np.bincount(found.labels, minlength=len(found.names))
    order = np.argsort(-answered, kind="stable")  # the labels of answered classes come first
    taken = [_around(dot.x, dot.y, PICTURE / 2) for dot in dots if dot.picture]
    marks = labelled(texts, found.names, colours, order.tolist(), taken, (width, height, most))
    return {"kind": kind, "width": width, "height": height, "dots": dots, "lines": lines, "marks": marks}


def _placed(
    images: NDArray[np.float32], texts: NDArray[np.float32], width: int, height: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both in the units of the drawing and in its middle, with one scale for both axes, so that distances can be compared."""
    both = np.concatenate([images, texts]).astype(float)
    if height > width:  # images and texts spread most along the first axis
        both = both[:, ::-1]
    low, high = both.min(0), both.max(0)
    room = np.array([width - 2 * SIDE * width, height - 2 * EDGE])
    scale = min((room / np.maximum(high - low, 1e-12)).min(), 1e6)
    placed = np.array([width, height]) / 2 + (both - (low + high) / 2) * scale * [1, -1]
    return placed[: len(images)], placed[len(images) :]


def labelled(
    texts: NDArray[np.float64],
    names: Sequence[str],
    colours: Sequence[str],
    order: Sequence[int],
    taken: Sequence[Box],
    size: tuple[int, int, int],
) -> list[Mark]:
    """The class texts, with labels where these cover the least of what is drawn already.

    Args:
        texts: The points of the texts ``(c, 2)``.
        names: The names of the classes.
        colours: The colours of the classes.
        order: The classes in the order in which their labels are placed.
        taken: The boxes that are drawn already.
        size: Width and height of the drawing, and the largest number of labels.
    """
    width, height, most = size
    boxes = [*taken, *(_around(x, y, 7) for x, y in texts.tolist())]
    marks = []
    for number, index in enumerate(order):
        x, y = texts[index].tolist()
        name = names[index]
        if number >= most:
            marks.append(Mark(x, y, name, colours[index]))
            continue
        label = name if cell_len(name) <= LONGEST_LABEL else f"{set_cell_size(name, LONGEST_LABEL - 1).rstrip()}…"
        long = LETTER * cell_len(label)
        places = [
            (start, min(max(y + down, LINE), height - 4), anchor)
            for down in (5, -12, 24, -30, 42, -48, 60)
            for start, anchor in ((x + 12, "start"), (x - 12, "end"))
            if 0 < start + (long if anchor == "start" else -long) < width
        ] or [(width / 2, y, "middle")]
        best = min(places, key=lambda place: _covered(_box(place, long), boxes))
        boxes.append(_box(best, long))
        marks.append(Mark(x, y, name, colours[index], label, *best))
    return marks


def _around(x: float, y: float, half: float) -> Box:
    return x - half, y - half, x + half, y + half


def _box(place: tuple[float, float, str], width: float) -> Box:
    """Left, top, right and bottom of a label."""
    start, bottom, anchor = place
    left = start - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
    return left, bottom - LINE, left + width, bottom


def _covered(box: Box, taken: Sequence[Box]) -> float:
    """The area that a label shares with others."""
    widths = [max(0.0, min(box[2], other[2]) - max(box[0], other[0])) for other in taken]
    heights = [max(0.0, min(box[3], other[3]) - max(box[1], other[1])) for other in taken]
    return sum(width * height for width, height in zip(widths, heights, strict=True))
