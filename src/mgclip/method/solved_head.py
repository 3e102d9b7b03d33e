"""The solved head: sums over all images, the weights solved from them, and the evidence of a sample (docs/method.md 10, 11).

Everything depends on the images alone: not on their order, nor on how they were split into tasks or models. The sample consists
of the images with the smallest fingerprints, so it does not depend on these either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mgclip.method.analytic import FourierFeatures, Sums, leave_one_out, solve
from mgclip.method.calibration import Calibration, calibrate

SAMPLE = 4096
"""Images whose features are kept, to weigh both branches by their leave-one-out scores."""

CHUNK = 4096
"""Images added to the sums at a time."""

TextLogits = Callable[[Tensor], Tensor]
"""Text logits over all classes of image features: ``(n, d)`` -> ``(n, c)``."""


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
    """

    fourier: FourierFeatures
    sums: Sums
    learned: Images
    sample: Images
    weights: Tensor
    ridge: float = 0.0
    calibration: Calibration = field(default_factory=Calibration)

    @classmethod
    def empty(cls, fourier: FourierFeatures, device: torch.device | str = "cpu") -> SolvedHead:
        """A head that has learned nothing."""
        sums, none = Sums.empty(fourier.width + 1, device), torch.empty(0, dtype=torch.long, device=device)
        learned = Images(none, none, torch.empty(0, 0, device=device))
        sample = Images(none, none, torch.empty(0, fourier.dim, device=device))
        return cls(fourier, sums, learned, sample, sums.targets)

    def to(self, device: torch.device) -> SolvedHead:
        """The head on a device."""
        sums = Sums(self.sums.gram.to(device), self.sums.targets.to(device), self.sums.counts.to(device))
        learned, sample = self.learned.to(device), self.sample.to(device)
        return replace(self, sums=sums, learned=learned, sample=sample, weights=self.weights.to(device))

    def scores(self, features: Tensor) -> Tensor:
        """Scores ``(b, c)`` of normalised image features ``(b, d)``: close to 1 for the class, to 0 for the others."""
        return self.fourier(features) @ self.weights


def add(head: SolvedHead, images: Images, text_logits: TextLogits) -> SolvedHead:
    """The head with more images, of known or new classes."""
    sums = accumulate(head, images)
    return resolved(
        replace(
            head,
            sums=sums,
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


def correct(head: SolvedHead, images: Images, wrong: Tensor, text_logits: TextLogits) -> SolvedHead:
    """The head after images were given another class.

    Args:
        head: The head.
        images: The images with their right classes.
        wrong: The class in which each was learned ``(n,)``, or -1 for an image that was not learned.
        text_logits: Text logits over all classes.
    """
    known = wrong >= 0
    before = replace(images, labels=wrong).take(known)
    without = replace(
        head,
        sums=accumulate(head, before, sign=-1),
        learned=_minus(head.learned, before),
        sample=_minus(head.sample, before),
    )
    return add(without, images, text_logits)


def forget(head: SolvedHead, label: int, images: Images | None, text_logits: TextLogits) -> SolvedHead:
    """The head without a class; later classes move up.

    With ``images``, which must be all images of the class, nothing of it remains. Without them the scatter of the class around
    its mean remains in the scatter that all classes share.
    """
    if images is not None:
        sums = accumulate(head, images, sign=-1)
    else:
        total = head.sums.targets[:, label]
        sums = replace(head.sums, gram=head.sums.gram - torch.outer(total, total) / head.sums.counts[label])
    kept = [other for other in range(len(sums.counts)) if other != label]
    sums = Sums(sums.gram, sums.targets[:, kept], sums.counts[kept])
    return resolved(
        replace(head, sums=sums, learned=_dropped(head.learned, label), sample=_dropped(head.sample, label)),
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
    empty = SolvedHead.empty(head.fourier, head.sums.gram.device)
    return merge(empty, head, places, text_logits)


def resolved(head: SolvedHead, text_logits: TextLogits) -> SolvedHead:
    """Solve a head from its sums, and weigh both branches by the leave-one-out scores of its sample."""
    if len(head.sums.counts) == 0:
        return replace(head, weights=head.sums.targets)
    solution = solve(head.sums)
    sample = head.sample
    phi = head.fourier(sample.features)
    scores = leave_one_out(solution, phi, sample.labels, head.sums.counts)
    calibration = calibrate(scores, text_logits(sample.features), sample.labels, head.sums.counts)
    return replace(head, weights=solution.weights, ridge=solution.ridge, calibration=calibration)


def learned_as(head: SolvedHead, marks: Tensor) -> list[list[int]]:
    """The classes in which each image was learned, by its fingerprint: one for each time, and none if it was not."""
    classes: dict[int, list[int]] = {mark: [] for mark in marks.tolist()}
    for mark, label in zip(head.learned.marks.tolist(), head.learned.labels.tolist(), strict=True):
        if mark in classes:
            classes[mark].append(label)
    return [classes[mark] for mark in marks.tolist()]


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
    return images.take(torch.tensor(kept, dtype=torch.long, device=images.labels.device))


def _dropped(images: Images, label: int) -> Images:
    kept = images.take(images.labels != label)
    return replace(kept, labels=kept.labels - (kept.labels > label).long())
