"""Single classes and images: accuracy of each class, confusions, and example images, right and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from markupsafe import Markup

from mgclip.experiment.schemas import Confusion, Example, Final
from mgclip.images import open_undecoded
from mgclip.report.figures import Label
from mgclip.report.page_figures import share_histogram
from mgclip.report.page_tables import Cell, Row, Table, percent
from mgclip.report.run_data import Result, Run
from mgclip.report.thumbnails import thumbnail
from mgclip.words import count

MAX_BARS, BEST = 40, 20
"""Up to MAX_BARS classes have a bar each. Of more, the BEST best and as many of the worst have one, next to a histogram."""
MAX_PAIRS = 20
"""Confused pairs that are shown."""
MAX_VIEWS, MAX_PICTURES = 24, 240
"""Results whose classes are shown; if there are more, only the first of each run. MAX_PICTURES: example images on a page."""
MAX_PIXELS = 50_000_000
"""An example with more pixels is left out: the runner writes small ones, so it is not one of them."""


@dataclass(frozen=True)
class Bar:
    """A class, its test images, how many of them were recognised, and its training images if they were recorded."""

    name: str
    images: int
    right: int
    train: int | None = None

    @property
    def share(self) -> float:
        """Accuracy as a share of 1; 0 without images."""
        return min(1.0, self.right / self.images) if self.images else 0.0

    @property
    def percent(self) -> str:
        """Accuracy as text."""
        return percent(self.share if self.images else None)


@dataclass(frozen=True)
class Picture:
    """An example image as a data URI, its class and its prediction."""

    uri: str
    truth: str
    predicted: str
    probability: str


@dataclass(frozen=True)
class Classes:
    """Accuracy of classes: bars in one or two groups with captions, and a histogram if there are many."""

    count: int
    perfect: int
    never: int
    histogram: Markup | None
    groups: Sequence[tuple[str, Sequence[Bar]]]


@dataclass(frozen=True)
class View:
    """The classes and example images of one result."""

    label: str
    images: int
    right: int
    classes: Classes
    confused: Sequence[Confusion]
    pictures: Sequence[tuple[str, Sequence[Picture]]]


def class_bars(bars: Sequence[Bar], ident: str) -> Classes:
    """Bars of all classes with images, or of the best and the worst if there are many."""
    ranked = sorted((bar for bar in bars if bar.images), key=lambda bar: (bar.share, -bar.images))
    groups: list[tuple[str, Sequence[Bar]]] = [(f"{count(len(ranked), 'class', 'classes')}, worst first", ranked)]
    histogram = None
    if len(ranked) > MAX_BARS:
        groups = [(f"The {BEST} best", ranked[: -BEST - 1 : -1]), (f"The {BEST} worst", ranked[:BEST])]
        shares = sorted(bar.share for bar in ranked)
        at = [percent(shares[round(part * (len(shares) - 1))], 0) for part in (0, 0.25, 0.5, 0.75, 1)]
        words = f"Of {len(ranked)} classes the worst has {at[0]} %, a quarter at most {at[1]}, half at most {at[2]}, "
        words += f"three quarters at most {at[3]}, and the best has {at[4]} %."
        histogram = share_histogram(shares, Label(ident, "Number of classes by accuracy", words))
    perfect, never = (sum(bar.share == share for bar in ranked) for share in (1.0, 0.0))
    return Classes(len(ranked), perfect, never, histogram, groups if ranked else [])


def class_results(runs: Sequence[Run]) -> list[list[Result]]:
    """The results of each run that recorded their classes, its lead first; if there are many, only the first of each run."""
    known = [[result for result in run.ranked if result.final] for run in runs]
    if sum(map(len, known)) > MAX_VIEWS:
        known = [results[:1] for results in known]
    return known


def class_views(runs: Sequence[Run]) -> list[list[View]]:
    """The views of the results of ``class_results``, without runs that have none."""
    known = class_results(runs)
    pictures = min(24, MAX_PICTURES // max(1, sum(map(len, known))))
    return [
        [_view(result, f"classes-{number}-{n}", pictures) for n, result in enumerate(results)]
        for number, results in enumerate(known)
        if results
    ]


def _view(result: Result, ident: str, pictures: int) -> View:
    final = result.final
    assert final is not None
    bars, pairs = _bars(final), sorted(final.get("confused", []), key=lambda pair: -pair["count"])
    wrong, right = ([each for each in final.get("examples", []) if each["right"] is hit] for hit in (False, True))
    shown_wrong = _pictures(result.folder, wrong, max(pictures // 2, pictures - len(right)))
    shown_right = _pictures(result.folder, right, pictures - len(shown_wrong))
    groups = [("Wrong", shown_wrong), ("Right", shown_right)]
    return View(
        result.label,
        sum(bar.images for bar in bars),
        sum(bar.right for bar in bars),
        class_bars(bars, ident),
        pairs[:MAX_PAIRS],
        [(name, group) for name, group in groups if group],
    )


def _bars(final: Final) -> list[Bar]:
    return [Bar(each["name"], each["images"], each["right"], each.get("train")) for each in final.get("classes", [])]


def class_table(runs: Sequence[Run]) -> Table | None:
    """All classes in the order in which the first result learned them, with a column for each result of ``class_results``."""
    finals = [(result, result.final) for results in class_results(runs) for result in results if result.final]
    if not finals:
        return None
    found = [{bar.name: bar for bar in _bars(final)} for _, final in finals]
    rows = []
    for name in dict.fromkeys(name for bars in found for name in bars):
        bar = next(bars[name] for bars in found if name in bars)
        own = [bars[name].percent if name in bars else "–" for bars in found]
        counts = str(bar.images), "–" if bar.train is None else f"{bar.train:,}"
        rows.append(Row(name, [Cell(text) for text in (*counts, *own)]))
    head = ["images", "training images", *(result.label for result, _ in finals)]
    return Table("Accuracy of every class, %", "class", head, rows)


def _pictures(folder: Path, examples: Sequence[Example], count: int) -> list[Picture]:
    """The first ``count`` examples that can be read."""
    readable = (
        Picture(uri, each["truth"], each["predicted"], percent(each["probability"]))
        for each in examples
        if (uri := data_uri(folder, each["file"])) is not None
    )
    return list(islice(readable, count))


def data_uri(folder: Path, name: str) -> str | None:
    """A small version of an image file inside a folder as a data URI; None if it cannot be read or is outside the folder."""
    try:
        file = (folder / name).resolve()
        if not file.is_relative_to(folder.resolve()):
            return None
        with open_undecoded(file) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
    except Exception:  # damaged files raise many kinds of errors, and a page can do without an image
        return None
    return thumbnail(file)
