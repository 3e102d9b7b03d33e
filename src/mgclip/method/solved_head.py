"""The solved head: sums over all images, the weights solved from them, and the evidence of a sample (docs/method.md 10, 11).

Everything depends on the images alone: not on their order, nor on how they were split into tasks or models. The sample consists
of the images with the smallest fingerprints, so it does not depend on these either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.method.analytic import FourierFeatures, Sums, choose_ridge, leave_one_out, solve
from mgclip.method.bank import Bank, drift_map
from mgclip.method.calibration import Calibration, calibrate

SAMPLE = 4096
"""Images whose features are kept, to weigh both branches by their leave-one-out scores."""

CHUNK = 4096
"""Images added to the sums at a time."""

TextLogits = Callable[[Tensor], Tensor]
"""Text logits over all classes of image features: ``(n, d)`` -> ``(n, c)``."""

LogitsOver = Callable[[Sequence[str]], TextLogits]
"""The text branch over classes with these texts."""


@dataclass(frozen=True)
class Images:
    """Images of known classes: ``marks`` ``(n,)`` identify their pixels, ``labels`` ``(n,)`` and ``features`` ``(n, d)``."""

    marks: Tensor
    labels: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Images:
        """The images on a device."""
        return Images(self.marks.to(device), self.labels.to(device), self.features.to(device))

    def take(self, rows: Tensor) -> Images:
        """Some of them, by position or mask."""
        return Images(self.marks[rows], self.labels[rows], self.features[rows])

    def plus(self, other: Images) -> Images:
        """Both together."""
        pairs = (self.marks, other.marks), (self.labels, other.labels), (self.features, other.features)
        return Images(*map(torch.cat, pairs))

    def without_features(self) -> Images:
        """Only fingerprints and labels."""
        return replace(self, features=self.features[:, :0])

    def sampled(self) -> Images:
        """The ``SAMPLE`` images with the smallest fingerprints, in their order."""
        return self.take(torch.argsort(self.marks, stable=True)[:SAMPLE])


@dataclass(frozen=True)
class Scorer:
    """A solved head as predictions use it, in single precision: scores = cos(u matrix + shift) weights + constant.

    Attributes:
        matrix: R of the random features, ``(d, width)``.
        shift: b of the random features, ``(width,)``.
        weights: ``(width, c)``, with the factor sqrt(2 / width) of the features.
        constant: ``(c,)``, the weights of the constant feature.
    """

    matrix: Tensor
    shift: Tensor
    weights: Tensor
    constant: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Normalised image features ``(b, d)`` -> scores ``(b, c)``."""
        return torch.cos(features @ self.matrix + self.shift) @ self.weights + self.constant


@dataclass(frozen=True)
class SolvedHead:
    """What analytic compensation has learned.

    Attributes:
        fourier: The random features, drawn once.
        sums: The sums over all images.
        learned: Fingerprint and class of every image.
        sample: A sample of the images with their features.
        weights: ``(m, c)``, solved from the sums.
        ridge: The ridge they were solved with.
        calibration: The weights of head and texts, and what the sample says about both.
        bank: Features of all classes from which the sums are made again after the adapters have changed; None if they never
            change.
        per_class: The largest number of features of a class in the bank.
        text_weight: The weight of the texts; None fits it.
    """

    fourier: FourierFeatures
    sums: Sums
    learned: Images
    sample: Images
    weights: Tensor
    ridge: float = 0.0
    calibration: Calibration = field(default_factory=Calibration)
    bank: Bank | None = None
    per_class: int = 0
    text_weight: float | None = None

    @classmethod
    def empty(
        cls,
        fourier: FourierFeatures,
        device: torch.device | str = "cpu",
        *,
        per_class: int = 0,
        text_weight: float | None = None,
    ) -> SolvedHead:
        """A head that has learned nothing; with a bank of ``per_class`` features of a class, unless that is 0."""
        sums, none = Sums.empty(fourier.width + 1, device), torch.empty(0, dtype=torch.long, device=device)
        learned = Images(none, none, torch.empty(0, 0, device=device))
        sample = Images(none, none, torch.empty(0, fourier.dim, device=device))
        bank = Bank.empty(fourier.dim, device) if per_class else None
        return cls(fourier, sums, learned, sample, sums.targets, bank=bank, per_class=per_class, text_weight=text_weight)

    def to(self, device: torch.device) -> SolvedHead:
        """The head on a device."""
        learned, sample = self.learned.to(device), self.sample.to(device)
        bank = self.bank and self.bank.to(device)
        weights = self.weights.to(device)
        return replace(self, sums=self.sums.to(device), learned=learned, sample=sample, weights=weights, bank=bank)

    def scores(self, features: Tensor) -> Tensor:
        """Scores ``(b, c)`` of normalised image features ``(b, d)``: close to 1 for the class, to 0 for the others."""
        return self.scorer.scores(features.float())

    @cached_property
    def scorer(self) -> Scorer:
        """The head in single precision, which takes half the time. Its scores differ by rounding only."""
        weights, width = self.weights, self.fourier.width
        parts = *self.fourier.drawn, math.sqrt(2 / width) * weights[:-1], weights[-1]
        return Scorer(*(part.to(weights.device, torch.float32) for part in parts))


def add(head: SolvedHead, images: Images, text_logits: TextLogits) -> SolvedHead:
    """The head with more images, of known or new classes."""
    bank = head.bank and head.bank.plus(images.features, images.labels, per_class=head.per_class)
    return resolved(
        replace(
            head,
            sums=accumulate(head, images),
            bank=bank,
            learned=head.learned.plus(images.without_features()),
            sample=head.sample.plus(images).sampled(),
        ),
        text_logits,
    )


def accumulate(head: SolvedHead, images: Images, *, sign: float = 1.0) -> Sums:
    """The sums of a head with more images, or without them if ``sign`` is -1."""
    sums = head.sums
    for rows in torch.arange(len(images), device=images.labels.device).split(CHUNK):
        sums = sums.plus(head.fourier(images.features[rows]), images.labels[rows], sign=sign)
    return sums


def correct(head: SolvedHead, images: Images, text_logits: TextLogits) -> SolvedHead:
    """The head as if these images, all different, had been learned with the classes they have here.

    An image that was learned several times is corrected as often. One that was not learned is added.
    """
    known = learned_as(head, images.marks)
    rows: list[int] = []
    wrong: list[int] = []  # the class under which each of these rows was learned, or -1
    for row, (label, labels) in enumerate(zip(images.labels.tolist(), known, strict=True)):
        others = [other for other in labels if other != label] if labels else [-1]
        rows += [row] * len(others)
        wrong += others
    if not rows:
        return head
    corrected, classes = images.take(_index(rows, images)), _index(wrong, images)
    before = replace(corrected, labels=classes).take(classes >= 0)
    without = replace(
        head,
        sums=accumulate(head, before, sign=-1),
        bank=head.bank and head.bank.minus(before.features, before.labels),
        learned=_minus(head.learned, before),
        sample=_minus(head.sample, before),
    )
    return add(without, corrected, text_logits)


def forget(head: SolvedHead, label: int, images: Images | None, text_logits: TextLogits) -> SolvedHead:
    """The head without a class; later classes move up.

    With ``images``, which must be all images of the class, nothing of it remains. Without them the scatter of the class around
    its mean remains in the scatter that all classes share.
    """
    places = [None if other == label else other - (other > label) for other in range(len(head.sums.counts))]
    if images is None:
        sums = head.sums.without_class(label)
    else:
        sums = accumulate(head, images, sign=-1)
        kept = [other for other, place in enumerate(places) if place is not None]
        sums = replace(sums, targets=sums.targets[:, kept], counts=sums.counts[kept])
    return resolved(
        replace(
            head,
            sums=sums,
            bank=head.bank and head.bank.placed(places, per_class=head.per_class),
            learned=_dropped(head.learned, label),
            sample=_dropped(head.sample, label),
        ),
        text_logits,
    )


def merge(head: SolvedHead, other: SolvedHead, places: Sequence[int], text_logits: TextLogits) -> SolvedHead:
    """The head of two models; class i of ``other`` is class ``places[i]`` of the result, new classes last."""
    index = torch.tensor(places, dtype=torch.long, device=head.sums.gram.device)

    def placed(images: Images) -> Images:
        return replace(images, labels=index[images.labels])

    return resolved(
        replace(
            head,
            sums=head.sums.merged(other.sums, places),
            bank=head.bank and other.bank and head.bank.merged(other.bank, places, per_class=head.per_class),
            learned=head.learned.plus(placed(other.learned)),
            sample=head.sample.plus(placed(other.sample)).sampled(),
        ),
        text_logits,
    )


def unite(head: SolvedHead, label: int, into: int, text_logits: TextLogits) -> SolvedHead:
    """The head with the images of class ``label`` in class ``into``; later classes move up."""
    classes = len(head.sums.counts)
    places = [into if other == label else other for other in range(classes)]
    places = [place - (place > label) for place in places]
    device = head.sums.gram.device
    empty = SolvedHead.empty(head.fourier, device, per_class=head.per_class, text_weight=head.text_weight)
    return merge(empty, head, places, text_logits)


def moved(head: SolvedHead, before: Tensor, after: Tensor) -> SolvedHead:
    """The head after the adapters have changed, not solved yet: the features of its bank and its sample are moved.

    Args:
        head: A head with a bank.
        before: Features of the images of the new task before the change, ``(n, d)``.
        after: Their features after it, ``(n, d)``.
    """
    drift = drift_map(before, after)
    features = F.normalize(head.sample.features.double() @ drift, dim=-1).to(head.sample.features)
    return replace(head, bank=head.bank and head.bank.moved(drift), sample=replace(head.sample, features=features))


def resolved(head: SolvedHead, text_logits: TextLogits) -> SolvedHead:
    """Solve a head from its sums, and weigh both branches by the leave-one-out scores of its sample."""
    if len(head.sums.counts) == 0:
        return replace(head, weights=head.sums.targets)
    ridge, bank, sample = None, head.bank, head.sample
    standing = None
    if bank is not None:
        # Centres scatter less than images: with the number of images, cross-validation would choose too small a ridge.
        head = replace(head, sums=bank.sums(head.fourier))
        ridge = choose_ridge(*head.sums.balanced(), torch.bincount(bank.classes).to(head.sums.counts))
        standing = head.fourier(bank.standing(sample.features, sample.labels))
    solution = solve(head.sums, ridge)
    scores = leave_one_out(solution, head.fourier(sample.features), sample.labels, head.sums, standing)
    logits, counts = text_logits(sample.features), head.sums.counts
    calibration = calibrate(scores, logits, sample.labels, counts, text_weight=head.text_weight)
    return replace(head, weights=solution.weights, ridge=solution.ridge, calibration=calibration)


def learned_as(head: SolvedHead, marks: Tensor) -> list[list[int]]:
    """The classes under which each image was learned, by its fingerprint; several if it was learned several times."""
    classes: dict[int, list[int]] = {}
    for mark, label in zip(head.learned.marks.tolist(), head.learned.labels.tolist(), strict=True):
        classes.setdefault(mark, []).append(label)
    return [classes.get(mark, []) for mark in marks.tolist()]


def _minus(images: Images, removed: Images) -> Images:
    """The images without those of the same fingerprints and classes; of equal ones, as many as are removed."""
    left: dict[tuple[int, int], int] = {}
    for key in zip(removed.marks.tolist(), removed.labels.tolist(), strict=True):
        left[key] = left.get(key, 0) + 1
    kept = []
    for row, key in enumerate(zip(images.marks.tolist(), images.labels.tolist(), strict=True)):
        if left.get(key, 0):
            left[key] -= 1
        else:
            kept.append(row)
    return images.take(_index(kept, images))


def _dropped(images: Images, label: int) -> Images:
    kept = images.take(images.labels != label)
    return replace(kept, labels=kept.labels - (kept.labels > label).long())


def _index(rows: Sequence[int], images: Images) -> Tensor:
    """Numbers as a tensor, on the device of the images."""
    return torch.tensor(rows, dtype=torch.long, device=images.labels.device)
