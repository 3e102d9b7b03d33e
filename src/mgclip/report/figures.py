"""The one style of all figures, and SVG from matplotlib: as a file, or as an element of a page.

Figures in pages contain numbers and fixed words only. Names, which may be anything, are in the HTML around them. Black becomes
``currentColor``, so that text and axes follow the page into dark mode.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

from mgclip.disk import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = ("-o", "--s", "-^", ":D", "-.v", "-P", "--X", ":*")
"""Line and marker of each curve, which can be told apart without colour."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""The palette of Okabe and Ito, made for colour-blind readers."""
JOINT_STYLE = ":"
"""Style of a method that learned everything at once: a dotted line, without the markers that all others have."""
DASHED = (0, (7, 3))
"""Line style of limits and diagonals."""
WIDE, NARROW, SQUARE, SHALLOW, LARGE = (5.6, 3.3), (3.5, 2.5), (4.8, 4.0), (5.6, 2.4), (8.4, 7.0)
"""Sizes in inches: of a page's figures, of one among several, of a matrix, of a histogram, of a matrix of many classes."""
FILE_SIZE = (7.0, 4.2)
"""Size of a figure in a file of its own, which has a title and a legend."""
TITLE_WIDTH = 64
"""Characters in a line of its title. A title may contain a path, and the file would cut what is wider than the figure."""
FONT = "font-size: 10px; font-family: 'DejaVu Sans', sans-serif; "
"""What matplotlib writes for every text. The style sheet of the page contains it once instead."""
RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "svg.hashsalt": "mgclip",
    "pdf.fonttype": 42,
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#000000",
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "lines.markersize": 4.5,
}

Paint = Callable[["Axes"], None]
Style = tuple[str, str]
"""Line style with marker, and colour, of a curve."""


@dataclass(frozen=True)
class Label:
    """What a figure is called: ``ident``, unique on the page, with which its ids begin; a short title; its numbers in words."""

    ident: str
    title: str
    description: str


@dataclass(frozen=True)
class Line:
    """A curve: values at ``first``, ``first`` + 1, ...; None for a missing one. ``spread``: half the height of a band."""

    values: Sequence[float | None]
    style: Style
    first: int = 1
    strong: bool = False
    name: str | None = None
    spread: Sequence[float] | None = None


def curve_style(number: int) -> Style:
    """Style and colour of curve ``number``. When colours repeat, they come with other styles."""
    return STYLES[(number + number // len(COLOURS)) % len(STYLES)], COLOURS[number % len(COLOURS)]


def save_figure(paint: Paint, file: Path, title: str, *, legend_columns: int = 1, legend_below: bool = False) -> None:
    """Write a figure with title and legend as an SVG or PDF file, as its name ends. Equal content gives equal bytes."""

    def paint_with_title(axes: Axes) -> None:
        paint(axes)
        axes.set_title(fill(title, TITLE_WIDTH))
        if legend_below:
            axes.legend(ncols=legend_columns, loc="upper center", bbox_to_anchor=(0.5, -0.16))
        else:
            axes.legend(ncols=legend_columns)

    replace_file(file, _drawn(paint_with_title, FILE_SIZE, title=title, form=file.suffix[1:]))


def draw(paint: Paint, label: Label, *, size: tuple[float, float] = WIDE) -> Markup:
    """Draw a figure as an SVG element. Equal content gives equal text."""
    return inline(_svg(paint, size), label.ident, label)


def _svg(paint: Paint, size: tuple[float, float], *, bare: bool = False) -> str:
    """The SVG of what ``paint`` draws, for a page. ``bare``: without axes."""
    return _drawn(paint, size, bare=bare).decode()


def _drawn(paint: Paint, size: tuple[float, float], *, title: str | None = None, bare: bool = False, form: str = "svg") -> bytes:
    """What ``paint`` draws, as SVG or PDF. ``bare``: without axes; ``title``: with an automatic layout, for a file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # not pyplot, which keeps state and needs a backend

    width, height = size
    with rc_context(RC):
        figure, file = Figure(figsize=size, layout="constrained" if title else None), BytesIO()
        axes = figure.subplots()
        if bare:
            figure.subplots_adjust(0, 0, 1, 1)
            axes.set_axis_off()
        elif title is None:  # fixed margins: the automatic layout takes most of the time of a page
            figure.subplots_adjust(0.66 / width, 0.52 / height, 1 - 0.12 / width, 1 - 0.12 / height)
        paint(axes)
        metadata = {"Date" if form == "svg" else "CreationDate": None, **({"Title": title} if title else {})}
        figure.savefig(file, format=form, transparent=title is None, metadata=metadata)
    return file.getvalue()


def inline(svg: str, ident: str, label: Label | None) -> Markup:
    """An SVG file as an element: without metadata and style sheet, and with ids that are unique on the page."""
    root = ElementTree.fromstring(svg.replace("#000000", "currentColor"))
    used = set(re.findall(r'(?:href="|url\()#([\w-]+)', svg))
    for element in list(root.iter()):
        for child in list(element):
            if child.tag.endswith(("}metadata", "}style")):
                element.remove(child)
    for element in root.iter():
        element.tag, element.tail = _without_namespace(element.tag), None
        element.text = element.text if element.tag == "text" else None
        element.attrib = dict(_attributes(element.attrib, ident, used))
    root.attrib = {key: root.attrib[key] for key in ("viewBox", "width")}
    if label is None:
        root.set("aria-hidden", "true")
    else:
        root.attrib |= {"role": "img", "aria-labelledby": f"{ident}-title", "aria-describedby": f"{ident}-desc"}
        for position, (tag, text) in enumerate((("title", label.title), ("desc", label.description))):
            part = ElementTree.Element(tag, {"id": f"{ident}-{tag}"})
            part.text = text
            root.insert(position, part)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _without_namespace(name: str) -> str:
    return name.rpartition("}")[2]


def _attributes(found: Mapping[str, str], ident: str, used: set[str]) -> list[tuple[str, str]]:
    kept = []
    for key, value in ((_without_namespace(name), value) for name, value in found.items()):
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
def _raw_swatch(style: Style) -> str:
    def paint(axes: Axes) -> None:
        axes.plot([0, 0.5, 1], [0, 0, 0], style[0], color=style[1], markevery=[1], markersize=5, linewidth=1.4)
        axes.set(xlim=(0, 1), ylim=(-1, 1))

    return _svg(paint, (0.4, 0.14), bare=True)


def swatch(style: Style, ident: str) -> Markup:
    """A short piece of a curve, for a legend."""
    return inline(_raw_swatch(style), ident, None)


def paint_lines(axes: Axes, lines: Sequence[Line], axis_labels: tuple[str, str], *, longest: int, ticks: int = 10) -> None:
    """Draw curves over tasks or epochs.

    A single point of the joint method becomes a level line if ``longest``, the length of the longest curve, is more than 1.
    """
    from matplotlib.ticker import MaxNLocator

    for line in lines:
        style, colour = line.style
        values = np.array([np.nan if value is None else value for value in line.values])
        positions = range(line.first, line.first + len(values))
        dotted = style == JOINT_STYLE
        width = 2.4 if line.strong else 1.8 if dotted else 1.3
        if dotted and len(values) == 1 < longest:
            axes.axhline(values[0], linestyle=style, color=colour, linewidth=width, label=line.name)
            continue
        every = max(1, len(values) // 12)
        order = 3 if line.strong else 2
        axes.plot(positions, values, style, color=colour, markevery=every, linewidth=width, zorder=order, label=line.name)
        if line.spread is not None:
            low, high = values - line.spread, values + line.spread
            axes.fill_between(positions, low, high, color=colour, alpha=0.15, linewidth=0)
    first = min(line.first for line in lines)
    axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1], xlim=(first - 0.4, first + max(longest - 1, 0) + 0.4))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=ticks))
