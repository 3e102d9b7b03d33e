"""The mistakes of an evaluation: the confusion matrix, the worst ones as pictures, and a table for ``mgclip correct``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from mgclip.csv_text import csv_bytes
from mgclip.experiment.evaluation import JudgedImage
from mgclip.report.figures import Label
from mgclip.report.page_figures import confusion_figure
from mgclip.report.page_tables import Cell, Row, Table, percent
from mgclip.report.thumbnails import thumbnail
from mgclip.words import command_line

MAX_NAMED, MAX_DRAWN = 30, 1500
"""Up to MAX_NAMED classes, the confusion matrix is a table with names and counts; above, a figure; above MAX_DRAWN, left out."""
MAX_PICTURES = 60
"""Mistakes that are shown as pictures."""
MAX_ROWS = 5000
"""Mistakes in the table to download, which the page contains."""
MAX_ANSWERS = 3
"""Wrong answers that are named for a class."""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer: the picture as a data URI (None if it cannot be read), the file, its class, the answer, and its scores."""

    uri: str | None
    name: str
    path: str
    truth: str
    answer: str
    scores: str


@dataclass(frozen=True)
class ConfusionMatrix:
    """A confusion matrix: a table with names, or a figure whose classes are numbered as in the table of all classes."""

    table: Table | None
    figure: Markup | None


@dataclass(frozen=True)
class WorstMistakes:
    """What the page shows of single images.

    Attributes:
        count: The number of wrong answers.
        matrix: The confusion matrix; None if there are too many classes.
        worst: The wrong answers with the largest confidence.
        table: A data URI of a table with the columns image and class, which ``mgclip correct`` reads.
        rows: The number of its rows.
        command: The command that reads it.
    """

    count: int
    matrix: ConfusionMatrix | None
    worst: Sequence[Mistake]
    table: str
    rows: int
    command: str


def mistakes_of(images: Sequence[JudgedImage], classes: Sequence[str], model: str) -> WorstMistakes:
    """The mistakes among some images.

    Args:
        images: The images that were measured.
        classes: The classes of the confusion matrix, in the order of the table of all classes.
        model: The folder of the model.
    """
    wrong = sorted((each for each in images if each.answer != each.truth), key=lambda each: -each.confidence)
    listed = wrong[:MAX_ROWS]
    return WorstMistakes(
        len(wrong),
        confusions(images, classes),
        [_mistake(each) for each in wrong[:MAX_PICTURES]],
        f"data:text/csv;charset=utf-8,{quote(_table(listed))}",
        len(listed),
        command_line(["mgclip", "correct", model, "answers.csv"]),
    )


def _mistake(image: JudgedImage) -> Mistake:
    scores = [f"{percent(image.confidence)} % confident", f"{percent(image.class_confidence)} % in its class"]
    if image.likeness is not None:
        scores.append(f"likeness {image.likeness:.2f}")
    path = str(image.file.absolute())
    return Mistake(thumbnail(image.file), image.file.name, path, image.truth, image.answer, ", ".join(scores))


def _table(images: Sequence[JudgedImage]) -> bytes:
    rows = ([image.file.absolute(), image.truth, image.answer, f"{image.confidence:.4f}"] for image in images)
    return csv_bytes([["image", "class", "answer", "confidence"], *rows])


def confusions(images: Sequence[JudgedImage], classes: Sequence[str]) -> ConfusionMatrix | None:
    """The confusion matrix, a row for each class that has images; None if there are too many classes."""
    if len(classes) > MAX_DRAWN:
        return None
    place = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for image in images:
        counts[place[image.truth], place[image.answer]] += 1
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    if len(classes) > MAX_NAMED:
        right = float(np.trace(counts) / counts.sum())
        words = f"{len(classes)} classes; {percent(right)} % of the images are on the diagonal."
        return ConfusionMatrix(None, confusion_figure(shares, Label("confusion", "Confusion matrix", words)))
    rows = [
        Row(name, [Cell(str(n), level=round(100 * share)) if n else Cell("") for n, share in zip(own, part, strict=True)])
        for name, own, part in zip(classes, counts.tolist(), shares.tolist(), strict=True)
        if sum(own)
    ]
    caption = "Number of images: a row for each class, a column for each answer"
    return ConfusionMatrix(Table(caption, "class", classes, rows), None)


def taken_for(images: Sequence[JudgedImage]) -> dict[str, Markup]:
    """For each class with mistakes, the most frequent wrong answers in words: ``shirt (3), skirt (1)``. Each name is isolated, so
    that one from right to left keeps its number.
    """
    pairs = Counter((image.truth, image.answer) for image in images if image.answer != image.truth)
    words: dict[str, list[Markup]] = {}
    for (truth, answer), number in pairs.most_common():
        if len(own := words.setdefault(truth, [])) < MAX_ANSWERS:
            own.append(Markup("<bdi>{}</bdi> ({})").format(answer, number))
    return {truth: Markup(", ").join(own) for truth, own in words.items()}
