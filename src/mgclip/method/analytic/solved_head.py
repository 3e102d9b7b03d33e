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
from torch import Tensor

from mgclip.method.analytic.bank import Bank, drift_map
from mgclip.method.analytic.calibration import Calibration, LazyScores, fit, measured
from mgclip.method.analytic.evidence import Evidence
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.random_features import RandomFeatures
from mgclip.method.analytic.ridge_regression import leave_one_out, solve, weights_dtype
from mgclip.method.analytic.scorer import Scorer
from mgclip.method.analytic.sums import Sums, accumulate

TextLogits = Callable[[Tensor], Tensor]
"""Text logits over all classes of image features: ``(n, d)`` -> ``(n, c)``."""

LogitsOver = Callable[[Sequence[str]], TextLogits]
"""The text branch over classes with these texts."""


@dataclass(frozen=True)
class SolvedHead:
    """What analytic compensation has learned.

    Attributes:
        fourier: The random features, drawn once.
        sums: The sums over all images.
        learned: Fingerprint and class of every image.
        sample: A sample of the images with their features.
        weights: ``(m, c)``, solved from the sums; those of many classes in single precision.
        ridge: The ridge they were solved with.
        calibration: The weights of head and texts, and what the sample says about both.
        bank: Features of all classes, from which the sums are computed again after the adapters have changed; None if they never
            change.
        per_class: The largest number of features of a class in the bank.
        frozen: The sums over the features of the pre-trained CLIP, while it is undecided whether the adapters stay.
        evidence: The evidence for or against adapters, with ``adapt: auto``.
        text_weight: The weight of the texts, next to which that of the head is fitted; None fits both.
    """

    fourier: RandomFeatures
    sums: Sums
    learned: Images
    sample: Images
    weights: Tensor
    ridge: float = 0.0
    calibration: Calibration = field(default_factory=Calibration)
    bank: Bank | None = None
    per_class: int = 0
    frozen: Sums | None = None
    evidence: Evidence = field(default_factory=Evidence)
    text_weight: float | None = None

    @classmethod
    def empty(
        cls,
        fourier: RandomFeatures,
        device: torch.device | str = "cpu",
        *,
        per_class: int = 0,
        undecided: bool = False,
        class_balance: bool = True,
        text_weight: float | None = None,
    ) -> SolvedHead:
        """A head that has learned nothing.

        Args:
            fourier: Its random features.
            device: Its device.
            per_class: The largest number of features of a class in its bank; 0 for a head without a bank.
            undecided: Whether to keep the sums of the pre-trained CLIP too.
            class_balance: Whether every class weighs the same, or every image.
            text_weight: The weight of the texts, next to which that of the head is fitted; None fits both.
        """
        sums = Sums.empty(fourier.width + 1, device, class_balance=class_balance)
        none = torch.empty(0, dtype=torch.long, device=device)
        learned = Images(none, none, torch.empty(0, 0, device=device))
        features = torch.empty(0, fourier.dim, device=device)
        sample = Images(none, none, features, features if undecided else None)
        bank = Bank.empty(fourier.dim, device) if per_class else None
        empty = cls(fourier, sums, learned, sample, sums.targets, bank=bank, per_class=per_class, text_weight=text_weight)
        return replace(empty, frozen=sums) if undecided else empty

    def emptied(self) -> SolvedHead:
        """A head of the same kind that has learned nothing."""
        return SolvedHead.empty(
            self.fourier,
            self.sums.gram.device,
            per_class=self.per_class,
            undecided=self.frozen is not None,
            class_balance=self.sums.class_balance,
            text_weight=self.text_weight,
        )

    def to(self, device: torch.device) -> SolvedHead:
        """The head on a device."""
        return replace(
            self,
            sums=self.sums.to(device),
            learned=self.learned.to(device),
            sample=self.sample.to(device),
            weights=self.weights.to(device),
            bank=self.bank and self.bank.to(device),
            frozen=self.frozen and self.frozen.to(device),
        )

    @property
    def left_out(self) -> int:
        """How many images of the sample can be left out: those whose class has other images than their copies."""
        return int((self.sums.counts[self.sample.labels] > self.sample.copies()).sum())

    def scores(self, features: Tensor) -> Tensor:
        """Scores ``(b, c)`` of normalised image features ``(b, d)``: close to 1 for the class, to 0 for the others."""
        return self.scorer.scores(features.float())

    @cached_property
    def scorer(self) -> Scorer:
        """The head in single precision, which takes half the time. Its scores differ by rounding only."""
        weights, width = self.weights, self.fourier.width
        parts = *self.fourier.projection, weights[:-1], weights[-1]
        matrix, shift, waves, constant = (part.to(weights.device, torch.float32) for part in parts)
        return Scorer(matrix, shift, waves, constant, self.fourier.kernel, math.sqrt(2 / width))


def add(head: SolvedHead, images: Images, text_logits: TextLogits) -> SolvedHead:
    """The head with more images, of known or new classes; ``text_logits`` is the text branch over all classes."""
    bank = head.bank and head.bank.plus(images.features, images.labels, per_class=head.per_class)
    return resolved(
        replace(
            summed(head, images),
            bank=bank,
            learned=head.learned.plus(images.without_features()),
            sample=head.sample.plus(images).sampled(),
        ),
        text_logits,
    )


def summed(head: SolvedHead, images: Images, *, sign: float = 1.0) -> SolvedHead:
    """The head, not solved yet, with images added to its sums, or subtracted from them if ``sign`` is -1.

    The sums of a head with a bank are computed from the bank instead.
    """
    sums, frozen = head.sums, head.frozen
    if head.bank is None:
        sums = accumulate(sums, head.fourier, images.features, images.labels, sign=sign)
    if frozen is not None:
        assert images.frozen is not None
        frozen = accumulate(frozen, head.fourier, images.frozen, images.labels, sign=sign)
    return replace(head, sums=sums, frozen=frozen)


def correct(head: SolvedHead, images: Images, text_logits: TextLogits) -> SolvedHead:
    """The head as if these images, all different, had been learned with the classes they have here.

    An image that was learned several times is corrected as often. One that was not learned is added.

    Args:
        head: The head before.
        images: The images with their right classes.
        text_logits: The text branch over all classes.
    """
    known = head.learned.labels_of(images.marks)
    rows: list[int] = []
    wrong: list[int] = []  # the class under which each of these rows was learned, or -1
    for row, (label, labels) in enumerate(zip(images.labels.tolist(), known, strict=True)):
        others = [other for other in labels if other != label] if labels else [-1]
        rows += [row] * len(others)
        wrong += others
    if not rows:
        return head
    corrected, classes = images.take(images.index(rows)), images.index(wrong)
    before = replace(corrected, labels=classes).take(classes >= 0)
    without = replace(
        summed(head, before, sign=-1),
        bank=head.bank and head.bank.minus(before.features, before.labels),
        learned=head.learned.minus(before),
        sample=head.sample.minus(before),
    )
    return add(without, corrected, text_logits)


def forget(head: SolvedHead, label: int, images: Images | None, text_logits: TextLogits) -> SolvedHead:
    """The head without a class; later classes move up.

    Its images leave the sample, and no others take their place, because features of images outside the sample are not kept.

    Args:
        head: The head before.
        label: The class.
        images: All images of the class, so that nothing of it remains. Without them the scatter of the class around its mean
            remains in the scatter that all classes share.
        text_logits: The text branch over the other classes.
    """
    places = [None if other == label else other - (other > label) for other in range(len(head.sums.counts))]
    if images is None:
        left = replace(head, sums=head.sums.without_class(label), frozen=head.frozen and head.frozen.without_class(label))
    else:
        left = summed(head, replace(images, labels=torch.full_like(images.labels, label)), sign=-1)
        left = replace(left, sums=left.sums.without_column(label), frozen=left.frozen and left.frozen.without_column(label))
    return resolved(
        replace(
            left,
            bank=head.bank and head.bank.placed(places, per_class=head.per_class),
            learned=head.learned.without_class(label),
            sample=head.sample.without_class(label),
        ),
        text_logits,
    )


def merge(head: SolvedHead, other: SolvedHead, places: Sequence[int], text_logits: TextLogits) -> SolvedHead:
    """The head of two models.

    Args:
        head: The head of one model.
        other: The head of the other one.
        places: Class i of ``other`` is class ``places[i]`` of the result, new classes last.
        text_logits: The text branch over all classes.
    """
    index = torch.tensor(places, dtype=torch.long, device=head.sums.gram.device)

    def placed(images: Images) -> Images:
        return replace(images, labels=index[images.labels])

    return resolved(
        replace(
            head,
            sums=head.sums.merged(other.sums, places),
            frozen=head.frozen and other.frozen and head.frozen.merged(other.frozen, places),
            evidence=head.evidence.joined(other.evidence),
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
    return merge(head.emptied(), head, places, text_logits)


def moved(head: SolvedHead, before: Tensor, after: Tensor) -> SolvedHead:
    """The head after the adapters have changed, not solved yet: the features of its bank and its sample are moved.

    Args:
        head: A head with a bank.
        before: Features of the images of the new task before the change, ``(n, d)``.
        after: Their features after it, ``(n, d)``.
    """
    drift = drift_map(before, after, head.fourier)
    features = drift(head.sample.features).to(head.sample.features)
    return replace(head, bank=head.bank and head.bank.moved(drift), sample=replace(head.sample, features=features))


def without_adapters(head: SolvedHead) -> SolvedHead:
    """An undecided head as if the adapters had never learned, not solved yet."""
    assert head.frozen is not None
    assert head.sample.frozen is not None
    sample = replace(head.sample, features=head.sample.frozen, frozen=None)
    return replace(head, sums=head.frozen, frozen=None, sample=sample, bank=None, per_class=0)


def resolved(head: SolvedHead, text_logits: TextLogits) -> SolvedHead:
    """Solve a head from its sums, and weigh both branches by the leave-one-out scores of its sample."""
    bank, sample, copies = head.bank, head.sample, head.sample.copies()
    if bank is not None:
        head = replace(head, sums=bank.sums(head.fourier, class_balance=head.sums.class_balance))
    if len(head.sums.counts) == 0:
        return replace(head, weights=head.sums.targets)
    counts = standing = None
    if bank is not None:
        # Centres scatter less than images: with the number of images, cross-validation would choose too small a ridge.
        counts = torch.bincount(bank.classes).to(head.sums.counts)
        standing = head.fourier(bank.standing(sample.features, sample.labels))
    solution = solve(head.sums, counts=counts)
    scores = leave_one_out(solution, head.fourier(sample.features), sample.labels, standing, copies)
    logits, images = LazyScores(lambda rows: text_logits(sample.features[rows])), (sample.labels, head.sums.counts)
    fitted = fit(scores, logits, *images, copies=copies, text_weight=head.text_weight)
    dtype = weights_dtype(len(head.sums.counts))
    weights = solution.weights_in(dtype) if dtype == torch.float32 else solution.weights  # not before the fit, to save memory
    calibration = measured(fitted, replace(scores, weights=weights), logits, *images, copies=copies)
    return replace(head, weights=weights, ridge=solution.ridge, calibration=calibration)
