"""The answer for one image, and the rows of JSON, CSV and text it is written as."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "unknown"
"""The answer for an image whose likeness to every learned class is below the threshold."""
COLUMNS = ("image", "rank", "class", "best", "confidence", "likeness")
BRANCHES = ("text", "head")
"""Columns of a table of answers, and more columns for the two branches. *best* is the class whose confidence the row has, even if
the answer is ``UNKNOWN``.
"""

Row = dict[str, str | float | None]


@dataclass(frozen=True)
class RankedClass:
    """One of the best classes of an image, with the numbers of ``Predictions``.

    Attributes:
        name: The name of the class.
        confidence: The probability of the class. The answer is the class with the largest one.
        text: The probability of the text branch.
        head: The score of the head; None for a candidate, which is known by its text only.
    """

    name: str
    confidence: float
    text: float
    head: float | None

    def as_row(self, *, branches: bool) -> Row:
        """A row of JSON."""
        row: Row = {"class": self.name, "confidence": self.confidence}
        return {**row, "text": self.text, "head": self.head} if branches else row


@dataclass(frozen=True)
class Answer:
    """The answer for one image.

    Attributes:
        file: The file of the image.
        name: The class; None if the likeness is below the threshold and no candidate is the answer.
        likeness: The largest score of the head: how much the image is like a learned class.
        best: The best classes, best first. Even for an unknown image the first one is a class.
    """

    file: Path
    name: str | None
    likeness: float
    best: tuple[RankedClass, ...]

    @property
    def shown_name(self) -> str:
        """The class, or ``UNKNOWN``."""
        return UNKNOWN if self.name is None else self.name

    @property
    def confidence(self) -> float:
        """Confidence in the best class."""
        return self.best[0].confidence

    def as_json(self, *, branches: bool) -> dict[str, object]:
        """The answer as an object of JSON; ``branches``: with the numbers of each branch."""
        best = self.best[0]
        return {
            "image": str(self.file),
            "class": self.shown_name,
            "best": best.name,
            "confidence": best.confidence,
            "likeness": self.likeness,
            "top": [each.as_row(branches=branches) for each in self.best],
        }

    def as_table(self, *, branches: bool) -> list[list[object]]:
        """The rows of the answer in a table with the columns ``COLUMNS`` and, if asked for, ``BRANCHES``."""
        rows: list[list[object]] = []
        for rank, each in enumerate(self.best, start=1):
            numbers = [each.confidence, self.likeness, *([each.text, each.head] * branches)]
            rows.append([self.file, rank, self.shown_name if rank == 1 else each.name, each.name, *numbers])
        return rows

    def as_words(self, *, branches: bool) -> list[str]:
        """The best classes as words: ``cat 0.9731``; those of an unknown image begin with *unknown* and why it is."""
        words = [f"{each.name} {each.confidence:.4f}" for each in self.best]
        if branches:
            heads = ["-" if each.head is None else f"{each.head:.4f}" for each in self.best]
            texts = [f"(text {each.text:.4f}, head {head})" for each, head in zip(self.best, heads, strict=True)]
            words = [" ".join(pair) for pair in zip(words, texts, strict=True)]
        if self.name is None:
            words[0] = f"{UNKNOWN} (likeness {self.likeness:.4f}; otherwise {words[0]})"
        return words
