"""The figures of a page: matplotlib's SVG, made fit to stand inside HTML.

They hold numbers and fixed words only; names, which may be anything, stand in the HTML around them. What matplotlib draws black
becomes ``currentColor``: text and axes follow the page into dark mode.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from typing import Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

from mgclip.experiment.metrics import Matrix
from mgclip.report.figures import COLOURS

Look = tuple[str, str]
"""Style and colour of a curve, as ``figures.look`` gives them."""
LEVEL = ":"
"""Style of a method that learned everything at once: a dotted line, without the markers all others have."""
FONT = "font-size: 10px; font-family: 'DejaVu Sans', sans-serif; "
"""What matplotlib writes for every text; the page's style sheet says it once."""
WIDE, NARROW, SQUARE = (5.6, 3.3), (3.5, 2.5), (4.8, 4.0)
"""Sizes in inches."""
RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mgclip",
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#000000",
    "grid.alpha": 0.15,
}


@dataclass(frozen=True)
class Label:
    """What a figure is called: a name for its ids, unique on the page, a short title, and its numbers in words."""

    ident: str
    title: str
    description: str


@dataclass(frozen=True)
class Line:
    """One curve: values at ``first``, ``first`` + 1, ...; None where there is none."""

    values: Sequence[float | None]
    look: Look
    first: int = 1
    strong: bool = False


def draw(paint: Callable[[Any], None], label: Label, *, size: tuple[float, float] = WIDE) -> Markup:
    """An SVG element of what ``paint`` draws into matplotlib axes; the same content gives the same text."""
    return inline(_raw(paint, size, bare=False), label.ident, label)


def _raw(paint: Callable[[Any], None], size: tuple[float, float], *, bare: bool) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    width, height = size
    with rc_context(RC):
        figure, file = Figure(figsize=size), StringIO()
        axes = figure.subplots()
        if bare:
            figure.subplots_adjust(0, 0, 1, 1)
            axes.set_axis_off()
        else:  # by hand: matplotlib's own layout takes most of the time
            figure.subplots_adjust(0.66 / width, 0.52 / height, 1 - 0.12 / width, 1 - 0.12 / height)
        paint(axes)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()


def inline(svg: str, ident: str, label: Label | None) -> Markup:
    """A whole SVG file as an element: no metadata, no style sheet, no id that could clash with another figure's."""
    root = ElementTree.fromstring(svg.replace("#000000", "currentColor"))
    used = set(re.findall(r'(?:href="|url\()#([\w-]+)', svg))
    for element in list(root.iter()):
        for child in list(element):
            if child.tag.endswith(("}metadata", "}style")):
                element.remove(child)
    for element in root.iter():
        element.tag, element.tail = _bare(element.tag), None
        element.text = element.text if element.tag == "text" else None
        element.attrib = dict(_attributes(element.attrib, ident, used))
    root.attrib = {key: root.attrib[key] for key in ("viewBox", "width")}
    if label is None:
        root.set("aria-hidden", "true")
    else:
        root.attrib |= {"role": "img", "aria-labelledby": f"{ident}-title", "aria-describedby": f"{ident}-desc"}
        for place, (tag, text) in enumerate((("title", label.title), ("desc", label.description))):
            part = ElementTree.Element(tag, {"id": f"{ident}-{tag}"})
            part.text = text
            root.insert(place, part)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _bare(name: str) -> str:
    return name.rpartition("}")[2]


def _attributes(found: Mapping[str, str], ident: str, used: set[str]) -> list[tuple[str, str]]:
    kept = []
    for key, value in ((_bare(name), value) for name, value in found.items()):
        if key == "id":
            value = f"{ident}-{value}" if value in used else ""
        elif key == "href" and value.startswith("#"):
            value = f"#{ident}-{value[1:]}"
        elif key in ("d", "x", "y"):
            value = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", value)
        elif key == "transform" and value.startswith("rotate(-0 "):
            value = ""
        else:
            value = value.replace(FONT, "").replace("url(#", f"url(#{ident}-")
        if value:
            kept.append((key, value))
    return kept


@lru_cache(maxsize=256)
def _raw_swatch(look: Look) -> str:
    style, colour = look

    def paint(axes: Any) -> None:
        axes.plot([0, 0.5, 1], [0, 0, 0], style, color=colour, markevery=[1], markersize=5, linewidth=1.4)
        axes.set(xlim=(0, 1), ylim=(-1, 1))

    return _raw(paint, (0.4, 0.14), bare=True)


def swatch(look: Look, ident: str) -> Markup:
    """A bit of a curve, for a legend."""
    return inline(_raw_swatch(look), ident, None)


def lines_figure(
    lines: Sequence[Line],
    label: Label,
    *,
    names: tuple[str, str],
    limits: tuple[float, float],
    levels: Sequence[float] = (),
    behind: Sequence[Line] = (),
    size: tuple[float, float] = WIDE,
) -> Markup:
    """Curves over tasks or epochs. ``names``: of the axes; ``levels``: dashed lines across; ``behind``: pale curves."""
    longest = max(len(line.values) for line in (*lines, *behind))
    first = min(line.first for line in lines)

    def numbers(line: Line) -> tuple[range, list[float]]:
        places = range(line.first, line.first + len(line.values))
        return places, [np.nan if value is None else value for value in line.values]

    def paint(axes: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        for line in behind:
            axes.plot(*numbers(line), color="#999999", linewidth=0.8, alpha=0.6)
        for line in lines:
            style, colour = line.look
            places, values = numbers(line)
            if style == LEVEL and len(values) == 1 < longest:
                axes.axhline(values[0], linestyle=style, color=colour, linewidth=1.8)
            else:
                every = max(1, len(values) // 12)
                weight = (
                    {"linewidth": 2.4, "zorder": 3} if line.strong else {"linewidth": 1.8 if style == LEVEL else 1.3}
                )
                axes.plot(places, values, style, color=colour, markersize=4.5, markevery=every, **weight)
        for level in levels:
            axes.axhline(level, linestyle=(0, (7, 3)), color="#000000", linewidth=1)
        axes.set(xlabel=names[0], ylabel=names[1], ylim=limits)
        axes.set_xlim(first - 0.4, first + max(longest - 1, 0) + 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=10 if size == WIDE else 6))

    return draw(paint, label, size=size)


def share_histogram(shares: Sequence[float], label: Label) -> Markup:
    """How many classes lie in each twentieth of accuracy from 0 to 1."""

    def paint(axes: Any) -> None:
        counts, edges = np.histogram(100 * np.asarray(shares), bins=20, range=(0, 100))
        axes.bar(edges[:-1], counts, width=5, align="edge", color=COLOURS[0], edgecolor="#000000", linewidth=0.6)
        axes.set(xlabel="accuracy of a class, %", ylabel="classes", xlim=(0, 100))

    return draw(paint, label, size=(WIDE[0], 2.4))


def matrix_figure(matrix: Matrix, label: Label) -> Markup:
    """The accuracies ``(tasks, tasks)`` as colours, for more tasks than numbers fit."""

    def paint(axes: Any) -> None:
        count, shown = len(matrix), np.where(np.tri(len(matrix), dtype=bool), 100 * matrix, np.nan)
        extent = (0.5, count + 0.5, count + 0.5, 0.5)
        image = axes.imshow(
            shown, cmap="cividis", vmin=0, vmax=100, interpolation="nearest", extent=extent, aspect="auto"
        )
        axes.grid(False)
        axes.set(xlabel="task", ylabel="tasks learned")
        axes.figure.subplots_adjust(right=0.86)
        axes.figure.colorbar(image, ax=axes, label="accuracy, %")

    return draw(paint, label, size=SQUARE)


def reliability_figure(bins: Sequence[Mapping[str, Any]], label: Label) -> Markup:
    """Accuracy against confidence, a bar for each bin that holds an image, and the diagonal where both agree."""

    def paint(axes: Any) -> None:
        full = [part for part in bins if part["count"]]
        lows, widths = ([100 * p["low"] for p in full], [100 * (p["high"] - p["low"]) for p in full])
        right = [100 * part["accuracy"] for part in full]
        axes.bar(lows, right, width=widths, align="edge", color=COLOURS[5], edgecolor="#000000", linewidth=0.6)
        axes.plot([0, 100], [0, 100], linestyle=(0, (7, 3)), color="#000000", linewidth=1)
        axes.plot([100 * part["confidence"] for part in full], right, "D", color=COLOURS[1], markersize=5)
        axes.set(xlabel="confidence, %", ylabel="accuracy, %", xlim=(0, 100), ylim=(0, 102))

    return draw(paint, label, size=SQUARE)
