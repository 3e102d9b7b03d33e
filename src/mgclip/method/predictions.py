"""What ``predict`` returns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgclip.errors import InputError
from mgclip.method.fusion import branch_probabilities, confidences
from mgclip.method.settings import Settings
from mgclip.names import check_alike, same

Floats = NDArray[np.float32]
ARTICLE = re.compile(r"^(a|an|the) ", re.IGNORECASE)


class Predictions:
    """Predictions for ``n`` images over ``c`` classes: those learned, then the candidates known by text alone.

    Texts say how much of each image belongs to the candidates; the learned classes share the rest as they would without them.
    Every number is computed when it is first asked for.

    Args:
        learned: The classes learned.
        also: The candidates.
        text_logits: Logits of the text branch ``(n, c)``.
        cosines: The head's cosines ``(n, len(learned))``.
        scale: The logit scale of the CLIP.
        settings: The model's settings.
    """

    def __init__(
        self,
        learned: tuple[str, ...],
        also: tuple[str, ...],
        text_logits: Tensor,
        cosines: Tensor,
        *,
        scale: float,
        settings: Settings,
    ) -> None:
        self.classes = (*learned, *also)
        self._logits, self._cosines, self._scale, self._settings = text_logits, cosines, scale, settings

    def __len__(self) -> int:
        return len(self._logits)

    @property
    def _own(self) -> Tensor:
        """Text logits of the learned classes."""
        return self._logits[:, : self._cosines.shape[1]]

    @cached_property
    def probabilities(self) -> Floats:
        """The method's own numbers ``(n, c)``, columns in the order of ``classes`` (docs/method.md 7): flat by design, so their
        order says more than their size.
        """
        return self._with_candidates(branch_probabilities(self._own, self._cosines, self._settings))

    @cached_property
    def confidence(self) -> Floats:
        """The same mixture without the flattening, ``(n, c)``."""
        settings = self._settings
        return self._with_candidates(
            confidences(
                self._own, self._cosines, scale=self._scale,
                vision_weight=settings.vision_weight, branches=settings.branches,
            )
        )  # fmt: skip

    @cached_property
    def text(self) -> Floats:
        """The text branch's probability, ``(n, c)``."""
        return _numpy(self._logits.softmax(-1))

    @cached_property
    def image(self) -> Floats:
        """The head's cosine, ``(n, learned)``."""
        return _numpy(self._cosines)

    def _with_candidates(self, own: Tensor) -> Floats:
        """Values of the learned classes ``(n, learned)`` as shares beside the candidates' ``(n, c)``."""
        learned = own.shape[1]
        if learned == len(self.classes):
            return _numpy(own)
        text = self._logits.softmax(-1)
        share = text[:, :learned].sum(1, keepdim=True)
        return _numpy(torch.cat([share * own, text[:, learned:]], dim=1))

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Position of each image's class, ``(n,)``: the most probable learned one, unless texts alone prefer a candidate to every
        learned class.
        """
        learned = self._cosines.shape[1]
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
    def top_confidence(self) -> Floats:
        """Confidence in each image's class, ``(n,)``."""
        return np.asarray(np.take_along_axis(self.confidence, self.labels[:, None], 1)[:, 0], dtype=np.float32)

    @property
    def likeness(self) -> Floats:
        """How much each image is like the learned class nearest to it in image space, its head's largest cosine, ``(n,)``: what
        tells images of no learned class best (docs/learn.md).
        """
        return np.asarray(self.image.max(1), dtype=np.float32)

    def order(self, k: int) -> NDArray[np.int64]:
        """Positions of each image's ``k`` best classes, best first, ``(n, k)``: its class, then by probability; the earlier of
        equal ones first.
        """
        if k == 1:
            return self.labels[:, None]
        cost = -self.probabilities
        np.put_along_axis(cost, self.labels[:, None], -np.inf, 1)
        if not 1 < k < cost.shape[1]:
            return np.argsort(cost, axis=1, kind="stable")[:, :k]
        highest = np.partition(cost, k - 1, axis=1)[:, k - 1]
        best = np.empty((len(cost), k), dtype=np.int64)
        for place, row in enumerate(cost):  # sorted are only the k best and those that equal the last of them
            able = np.flatnonzero(~(row > highest[place]))
            best[place] = able[np.argsort(row[able], kind="stable")[:k]]
        return best

    def top(self, k: int) -> Iterator[list[tuple[str, float]]]:
        """For each image its ``k`` best classes, name and probability, best first."""
        for row, best in zip(self.probabilities, self.order(k), strict=True):
            yield [(self.classes[label], float(row[label])) for label in best]


def candidate_texts(also: Iterable[str], learned: Sequence[str]) -> tuple[str, ...]:
    """The texts of candidates.

    Args:
        also: The texts.
        learned: The learned classes.

    Raises:
        InputError: If nothing was learned, if this is not a list of texts, or as in ``check_candidates``.
    """
    if not learned:
        raise InputError("This model has learned no class yet: call learn first.")
    texts = (also,) if isinstance(also, str) or not isinstance(also, Iterable) else tuple(also)
    if texts == (also,) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"also must be a list of texts; found {also!r}.")
    check_candidates(texts, learned)
    return texts


def without_article(text: str) -> str:
    """The text without its article, because the prompt has its own."""
    return ARTICLE.sub("", text)


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


def _numpy(values: Tensor) -> Floats:
    return np.asarray(values.cpu().numpy(), dtype=np.float32)
