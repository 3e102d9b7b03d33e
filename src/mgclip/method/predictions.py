"""What ``predict`` returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mgclip.errors import InputError
from mgclip.method.fusion import branch_probabilities, confidences
from mgclip.method.settings import Settings
from mgclip.names import check_alike, same

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Predictions:
    """Predictions for ``n`` images over ``c`` classes: those learned, then the candidates known by text alone.

    ``probabilities`` ``(n, c)``, columns in the order of ``classes``, are the method's own (docs/method.md 7): flat by design, so
    their order says more than their size. ``confidence`` ``(n, c)`` is the same mixture without the flattening.
    ``text`` ``(n, c)`` is the text branch's probability, ``image`` ``(n, learned)`` the head's cosine.
    """

    classes: tuple[str, ...]
    probabilities: Floats
    confidence: Floats
    text: Floats
    image: Floats

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Position of each image's class, ``(n,)``: the most probable learned one, unless texts alone prefer a candidate to every
        learned class.
        """
        learned = self.image.shape[1]
        best = np.asarray(self.probabilities[:, :learned].argmax(1), dtype=np.int64)
        if learned == len(self.classes):
            return best
        by_text = np.asarray(self.text.argmax(1), dtype=np.int64)
        return np.where(by_text >= learned, by_text, best)

    @property
    def names(self) -> list[str]:
        """Name of each image's class."""
        return [self.classes[label] for label in self.labels]

    @property
    def sureness(self) -> Floats:
        """Confidence in each image's class, ``(n,)``."""
        return np.asarray(np.take_along_axis(self.confidence, self.labels[:, None], 1)[:, 0], dtype=np.float32)

    @property
    def likeness(self) -> Floats:
        """How much each image is like the learned class nearest to it in image space, its head's largest cosine, ``(n,)``: what
        tells images of no learned class best (docs/learn.md).
        """
        return np.asarray(self.image.max(1), dtype=np.float32)

    def order(self, k: int) -> NDArray[np.int64]:
        """Positions of each image's ``k`` best classes, best first, ``(n, k)``: its class, then by probability."""
        rank = self.probabilities.copy()
        np.put_along_axis(rank, self.labels[:, None], np.inf, 1)
        return np.argsort(-rank, axis=1, kind="stable")[:, :k]

    def top(self, k: int) -> Iterator[list[tuple[str, float]]]:
        """For each image its ``k`` best classes, name and probability, best first."""
        for row, best in zip(self.probabilities, self.order(k), strict=True):
            yield [(self.classes[label], float(row[label])) for label in best]


def check_candidates(also: Sequence[str], learned: Sequence[str]) -> None:
    """See that candidates are new names. Raises ``InputError`` naming the first that is not."""
    if not also:
        return
    known = set(map(same, learned))
    if again := [name for name in also if same(name) in known]:
        raise InputError(f"The candidate {again[0]!r} is a learned class: leave it out.")
    counts = Counter(map(same, also))
    if wrong := [name for name in also if counts[same(name)] > 1 or not name.strip()]:
        raise InputError(
            f"The candidate {wrong[0]!r} is empty or named twice: give every candidate one name of its own."
        )
    check_alike(also, learned)


def predictions(
    learned: tuple[str, ...],
    also: tuple[str, ...],
    text_logits: Tensor,
    cosines: Tensor,
    *,
    scale: float,
    settings: Settings,
) -> Predictions:
    """Predictions of text logits ``(n, learned + also)`` and the head's cosines ``(n, learned)``.

    Texts say how much of each image belongs to the candidates; the learned classes share the rest as they would without them.
    """
    text = text_logits.softmax(-1)
    probabilities = branch_probabilities(text_logits[:, : len(learned)], cosines, settings)
    sure = confidences(
        text_logits[:, : len(learned)], cosines, scale=scale,
        vision_weight=settings.vision_weight, branches=settings.branches,
    )  # fmt: skip
    mine, others = text.split([len(learned), len(also)], dim=1)
    share = mine.sum(1, keepdim=True) if also else text.new_ones(len(text), 1)
    parts = [(share * probabilities, others), (share * sure, others)]
    both = [np.concatenate([_numpy(own), _numpy(other)], axis=1) for own, other in parts]
    return Predictions((*learned, *also), both[0], both[1], _numpy(text), _numpy(cosines))


def _numpy(values: Tensor) -> Floats:
    return np.asarray(values.cpu().numpy(), dtype=np.float32)
