"""What ``predict`` returns, and the checks on further candidates."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgclip.errors import InputError
from mgclip.method.analytic.calibration import Calibration
from mgclip.method.fusion import branch_probabilities, confidences
from mgclip.method.settings import Settings
from mgclip.names import canonical, check_distinguishable, tidy
from mgclip.words import count

Floats = NDArray[np.float32]
BLOCK = 2**22
"""Values, images times classes, that are computed at a time to find the best classes."""

SHOWN = 5
"""Answers that the text form of predictions names."""
ARTICLE = re.compile(r"^(a|an|the) ", re.IGNORECASE)


class Predictions:
    """Predictions for ``n`` images over ``c`` classes: the learned ones, then the candidates known by their text alone.

    The text branch decides the total probability of the candidates; learned classes share the rest as without candidates.
    Values are computed on first access.

    Args:
        learned: The learned classes.
        candidates: Names of the candidates.
        text_logits: Logits of the text branch ``(n, c)``.
        scores: Scores of the head ``(n, len(learned))``: cosines, or scores of the solved head.
        scale: The logit scale of the CLIP.
        settings: The settings of the model.
        calibration: The weights of both branches, if the head is solved.

    Example:
        >>> import torch
        >>> from mgclip import Predictions, Settings
        >>> logits, cosines = torch.tensor([[30.0, 25.0, 20.0]]), torch.tensor([[0.9, 0.8]])
        >>> found = Predictions(("cat", "dog"), ("fox",), logits, cosines, 100.0, Settings())
        >>> found
        <Predictions for 1 image over 3 classes: 'cat' 1.00>
        >>> found.classes, found.names, found.likeness.tolist() == found.head_scores.max(1).tolist()
        (('cat', 'dog', 'fox'), ['cat'], True)
        >>> [[name for name, confidence in best] for best in found.top(2)]
        [['cat', 'fox']]
    """

    def __init__(
        self,
        learned: tuple[str, ...],
        candidates: tuple[str, ...],
        text_logits: Tensor,
        scores: Tensor,
        scale: float,
        settings: Settings,
        calibration: Calibration | None = None,
    ) -> None:
        self.classes = (*learned, *candidates)
        self._logits, self._scores, self._scale = text_logits, scores, scale
        self._settings, self._calibration = settings, calibration

    def __len__(self) -> int:
        return len(self._logits)

    def __repr__(self) -> str:
        """The number of images and classes, and the first answers with their confidence."""
        answers = [f"{name!r} {share:.2f}" for name, share in zip(self.names[:SHOWN], self.top_confidence, strict=False)]
        first = f": {', '.join([*answers, *(['...'] if len(self) > SHOWN else [])])}" if answers else ""
        classes = count(len(self.classes), "class", "classes")
        return f"<{type(self).__name__} for {count(len(self), 'image')} over {classes}{first}>"

    @property
    def _own(self) -> Tensor:
        """Text logits of the learned classes."""
        return self._logits[:, : self._scores.shape[1]]

    @cached_property
    def probabilities(self) -> Floats:
        """Probabilities ``(n, c)`` as published (docs/method.md 7): flat by design, so only their order is meaningful."""
        return self._with_candidates(branch_probabilities(self._own, self._scores, self._settings, self._calibration))

    @cached_property
    def confidence(self) -> Floats:
        """Probabilities that are meant to be read, ``(n, c)``: the answer is the class with the largest one.

        Those of a solved head are calibrated. The published ones are sharpened (``fusion.sharpened``) in the same order.
        """
        own = branch_probabilities(self._own, self._scores, self._settings, self._calibration)
        return self._with_candidates(confidences(own, self._scale, self._settings, self._calibration))

    @cached_property
    def text_probabilities(self) -> Floats:
        """Probabilities of the text branch alone, ``(n, c)``."""
        return _numpy(self._logits.softmax(-1))

    @cached_property
    def head_scores(self) -> Floats:
        """Scores of the head, ``(n, learned)``: cosines of a trained one; a solved one gives about 1 for its class."""
        return _numpy(self._scores)

    text = property(lambda self: self.text_probabilities, doc="Former name of ``text_probabilities``.")
    image = property(lambda self: self.head_scores, doc="Former name of ``head_scores``.")
    sureness = property(lambda self: self.top_confidence, doc="Former name of ``top_confidence``.")

    def _with_candidates(self, own: Tensor) -> Floats:
        """Values of the learned classes ``(n, learned)``, scaled to leave the candidates their share, ``(n, c)``."""
        learned = own.shape[1]
        if learned == len(self.classes):
            return _numpy(own)
        text = self._logits.softmax(-1)
        share = text[:, :learned].sum(1, keepdim=True)
        return _numpy(torch.cat([share * own, text[:, learned:]], dim=1))

    @property
    def _deciding(self) -> Floats:
        """The values that rank the classes, ``(n, c)``: the confidences, or without candidates the probabilities."""
        return self.confidence if self._scores.shape[1] < len(self.classes) else self.probabilities

    def _parts(self) -> Iterator[Predictions]:
        """These predictions, a few images at a time: the best of many classes are found without the values of all images."""
        size = max(1, BLOCK // len(self.classes))
        if len(self) <= size:
            yield self
            return
        learned, candidates = self.classes[: self._scores.shape[1]], self.classes[self._scores.shape[1] :]
        for logits, scores in zip(self._logits.split(size), self._scores.split(size), strict=True):
            yield Predictions(learned, candidates, logits, scores, self._scale, self._settings, self._calibration)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Position of the class of each image, ``(n,)``: the one of the largest confidence."""
        places: NDArray[np.int64] = np.concatenate([part._deciding.argmax(1) for part in self._parts()]).astype(np.int64)
        return places

    @cached_property
    def names(self) -> list[str]:
        """Name of the class of each image."""
        return [self.classes[label] for label in self.labels]

    @cached_property
    def top_confidence(self) -> Floats:
        """Confidence in the class of each image, ``(n,)``."""
        best = [np.take_along_axis(part.confidence, part.labels[:, None], 1)[:, 0] for part in self._parts()]
        return np.concatenate(best).astype(np.float32)

    @cached_property
    def likeness(self) -> Floats:
        """The largest head score of each image, ``(n,)``: low if the image belongs to no learned class (docs/learn.md)."""
        return np.asarray(self.head_scores.max(1), dtype=np.float32)

    def order(self, k: int) -> NDArray[np.int64]:
        """Positions of the ``k`` best classes of each image, ``(n, k)``: largest confidence first, stable for ties. Raises
        ``InputError`` if ``k`` is not a whole number of at least 0.
        """
        _check_number(k)
        if k == 1:
            return self.labels[:, None]
        return np.concatenate([part._order(k) for part in self._parts()])

    def _order(self, k: int) -> NDArray[np.int64]:
        """``order`` of few images."""
        cost = -self._deciding
        np.put_along_axis(cost, self.labels[:, None], -np.inf, 1)
        if not 1 < k < cost.shape[1]:
            return np.argsort(cost, axis=1, kind="stable")[:, :k]
        highest = np.partition(cost, k - 1, axis=1)[:, k - 1]
        best = np.empty((len(cost), k), dtype=np.int64)
        for place, row in enumerate(cost):  # only the k best, and those equal to the last of them, are sorted
            able = np.flatnonzero(~(row > highest[place]))
            best[place] = able[np.argsort(row[able], kind="stable")[:k]]
        return best

    def top(self, k: int) -> Iterator[list[tuple[str, float]]]:
        """Name of and confidence in the ``k`` best classes of each image, best first. Raises ``InputError`` if ``k`` is not a
        whole number of at least 0.
        """
        _check_number(k)
        return (
            [(self.classes[label], float(row[label])) for label in best]
            for part in self._parts()
            for row, best in zip(part.confidence, part.order(k), strict=True)
        )


def _check_number(k: int) -> None:
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 0:
        raise InputError(f"The number of best classes must be a whole number of at least 0; found {k!r}.")


def candidate_texts(candidates: Iterable[str], learned: Sequence[str]) -> tuple[str, ...]:
    """The texts of candidates, checked. Raises ``InputError`` if they cannot be used, or if nothing was learned."""
    if not learned:
        raise InputError("This model has learned no class yet: call learn first.")
    listed = isinstance(candidates, Iterable) and not isinstance(candidates, str)
    texts = tuple(candidates) if listed else ()
    if not listed or not all(isinstance(text, str) for text in texts):
        raise InputError(f"candidates must be a list of texts; found {candidates!r}.")
    texts = tuple(tidy(str(text)) for text in texts)  # a NumPy text prints with NumPy's name
    check_candidates(texts, learned)
    return texts


def without_article(text: str) -> str:
    """The text without its article, because the prompt has its own."""
    return ARTICLE.sub("", text)


def check_candidates(candidates: Sequence[str], learned: Sequence[str]) -> None:
    """Check that candidates are new names. Raises ``InputError`` naming the first that is not."""
    if not candidates:
        return
    known = set(map(canonical, learned))
    if again := [name for name in candidates if canonical(name) in known]:
        raise InputError(f"The candidate {again[0]!r} is a learned class: leave it out.")
    counts = Counter(map(canonical, candidates))
    if wrong := [name for name in candidates if counts[canonical(name)] > 1 or not name.strip()]:
        raise InputError(f"The candidate {wrong[0]!r} is empty or named twice: give every candidate one name of its own.")
    check_distinguishable(candidates, learned)


def _numpy(values: Tensor) -> Floats:
    return np.asarray(values.float().cpu().numpy())  # NumPy has no bfloat16, in which a method may score
