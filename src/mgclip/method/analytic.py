"""Analytic compensation: the classifier in image space is solved from sums instead of trained (docs/method.md 10).

Ridge regression on random features of the image features, in which every class weighs the same. What it has learned are sums over
images, so neither the order of images nor their split into tasks matters, a known class grows by addition, and an image can be
taken out again.

Source: Golub, Heath and Wahba, *Generalized Cross-Validation as a Method for Choosing a Good Ridge Parameter*, Technometrics
1979.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.clip import parallel

RIDGES = tuple(10.0 ** (power / 2) for power in range(-8, 5))
"""Ridges that cross-validation chooses from. Smaller ones fit no better, and amplify rounding."""

EQUAL = 1e-3
"""Errors that differ by less than this share are equal."""

WITHOUT_EVIDENCE = 1.0
"""The ridge if every class has a single image, so that none can be left out."""

CHUNK = 4096
"""Images added to the sums at a time."""

COLUMNS = 1024
"""Classes whose columns are computed at a time, so that no other matrix is as large as the sums."""


@dataclass(frozen=True)
class Sums:
    """All that the classifier keeps of its images, in double precision.

    Attributes:
        gram: Sum of phi phi^T over all images, ``(m, m)``.
        targets: Sum of phi over the images of each class, ``(m, c)``.
        counts: Images of each class, ``(c,)``.
        forgotten: Images of forgotten classes whose scatter is still in ``gram``.
        class_balance: Whether every class weighs the same, or every image.
    """

    gram: Tensor
    targets: Tensor
    counts: Tensor
    forgotten: float = 0.0
    class_balance: bool = True

    @classmethod
    def empty(cls, size: int, device: torch.device | str = "cpu", *, class_balance: bool = True) -> Sums:
        """Sums over no image, for features of length ``size``."""
        zeros = torch.zeros(size, size, dtype=torch.float64, device=device)
        return cls(zeros, zeros[:, :0], zeros[0, :0], class_balance=class_balance)

    def to(self, device: torch.device) -> Sums:
        """The sums on a device."""
        gram, targets, counts = self.gram.to(device), self.targets.to(device), self.counts.to(device)
        return replace(self, gram=gram, targets=targets, counts=counts)

    def plus(self, phi: Tensor, labels: Tensor, *, sign: float = 1.0) -> Sums:
        """The sums with more images, or without them if ``sign`` is -1.

        Args:
            phi: Features of the images ``(n, m)``.
            labels: Their classes ``(n,)``; a class that is new follows the known ones.
            sign: 1 adds the images, -1 takes them out again.
        """
        if len(labels) == 0:
            return self
        grown = self.padded(int(labels.max()) + 1)
        grown = replace(grown, gram=grown.gram.clone(), targets=grown.targets.clone(), counts=grown.counts.clone())
        grown.add(phi, labels, sign=sign)
        return grown

    def add(self, phi: Tensor, labels: Tensor, *, sign: float = 1.0) -> None:
        """Add images of known classes to these sums themselves, as ``plus`` adds them to a copy."""
        self.gram.addmm_(phi.T, phi, alpha=sign)
        self.targets.index_add_(1, labels, phi.T, alpha=sign)
        self.counts.add_(labels.bincount(minlength=len(self.counts)), alpha=sign)

    def padded(self, classes: int) -> Sums:
        """The sums over at least this number of classes; those that are added have no image."""
        more = max(0, classes - len(self.counts))
        return replace(self, targets=F.pad(self.targets, (0, more)), counts=F.pad(self.counts, (0, more)))

    def merged(self, other: Sums, places: Sequence[int]) -> Sums:
        """The sums of both; class i of ``other`` is class ``places[i]`` of the result, new classes last."""
        index = torch.tensor(places, dtype=torch.long, device=self.gram.device)
        classes = max(len(self.counts), max(places, default=-1) + 1)
        targets = self.targets.new_zeros(len(self.gram), classes)  # the only copy of the sums of all classes
        targets[:, : len(self.counts)] = self.targets
        targets.index_add_(1, index, other.targets)
        counts = F.pad(self.counts, (0, classes - len(self.counts))).index_add(0, index, other.counts)
        gram, forgotten = self.gram + other.gram, self.forgotten + other.forgotten
        return replace(self, gram=gram, targets=targets, counts=counts, forgotten=forgotten)

    def negative(self) -> Sums:
        """The sums with the opposite sign, to take images out by adding."""
        return replace(self, gram=-self.gram, targets=-self.targets, counts=-self.counts, forgotten=-self.forgotten)

    def without_class(self, label: int) -> Sums:
        """The sums without a class: its mean and count are gone, and its scatter stays in the one that all classes share."""
        total, images = self.targets[:, label], self.counts[label]
        left = replace(self, gram=self.gram - torch.outer(total, total) / images, forgotten=self.forgotten + images.item())
        return left.without_column(label)

    def without_column(self, label: int) -> Sums:
        """The sums without the mean and the count of a class, whose images were taken out."""
        kept = torch.arange(len(self.counts), device=self.counts.device) != label
        return replace(self, targets=self.targets[:, kept], counts=self.counts[kept])

    @property
    def images(self) -> float:
        """The number of images whose scatter is in ``gram``."""
        return self.counts.sum().item() + self.forgotten

    @property
    def share(self) -> float:
        """C / n: the weight of an image if all images weigh the same, and all together as much as with class balance."""
        return len(self.counts) / self.images

    @property
    def scale(self) -> Tensor:
        """The factor ``(c,)`` of each column of ``targets`` on the right-hand side of the equations, the means with balance."""
        return 1 / self.counts if self.class_balance else torch.full_like(self.counts, self.share)

    def right_hand_side(self) -> Iterator[Tensor]:
        """The right-hand side of the equations, ``COLUMNS`` classes at a time."""
        for targets, scale in zip(self.targets.split(COLUMNS, 1), self.scale.split(COLUMNS), strict=True):
            yield targets * scale

    def matrix(self) -> Tensor:
        """The normal matrix ``(m, m)`` to solve for the weights, before the ridge is added.

        With class balance every class weighs the same. With n images, m_c the mean and n_c the count of class c, the scatter
        within classes is S = G - sum of n_c m_c m_c^T. The matrix is (C / n) S + sum of m_c m_c^T: classes share one scatter, and
        each has one vote. Weights of 1 / n_c on every image would need the images again whenever a class grows; this needs the
        sums only.
        """
        matrix = self.share * self.gram
        if self.class_balance:
            weights = 1 / self.counts.square() - self.share / self.counts
            for targets, weight in zip(self.targets.split(COLUMNS, 1), weights.split(COLUMNS), strict=True):
                matrix.addmm_(targets * weight, targets.T)
        return matrix


def accumulate(sums: Sums, expand: Callable[[Tensor], Tensor], features: Tensor, labels: Tensor, *, sign: float = 1.0) -> Sums:
    """The sums with more images, or without them. Each process adds its share, and all processes get the sums over all images.

    Args:
        sums: The sums before.
        expand: The random features: ``(n, d)`` -> ``(n, m)``.
        features: Features of the images ``(n, d)``.
        labels: Their classes ``(n,)``.
        sign: 1 adds the images, -1 takes them out again.
    """
    if len(labels) == 0:
        return sums
    present, local = labels.unique(return_inverse=True)
    own = Sums.empty(len(sums.gram), sums.gram.device).padded(len(present))
    for rows in parallel.shard(torch.arange(len(labels), device=labels.device)).split(CHUNK):
        own.add(expand(features[rows]), local[rows])
    gram, targets, counts = parallel.summed_over_processes((own.gram, own.targets, own.counts))
    added = replace(own, gram=gram, targets=targets, counts=counts)
    return sums.merged(added if sign > 0 else added.negative(), present.tolist())


@dataclass(frozen=True)
class Solution:
    """The solved classifier.

    Attributes:
        sums: The sums that were solved.
        ridge: The ridge used.
        factor: The Cholesky factor ``(m, m)`` of the normal matrix plus the ridge.
    """

    sums: Sums
    ridge: float
    factor: Tensor

    @cached_property
    def weights(self) -> Tensor:
        """``(m, c)``; the scores of an image are phi^T weights."""
        return self.weights_in(self.factor.dtype)

    def weights_in(self, dtype: torch.dtype) -> Tensor:
        """The weights, solved in double precision and kept in another one."""
        weights = torch.empty(self.sums.targets.shape, dtype=dtype, device=self.factor.device)
        for columns, part in zip(weights.split(COLUMNS, 1), self.sums.right_hand_side(), strict=True):
            columns.copy_(torch.cholesky_solve(part, self.factor))
        return weights


def solve(sums: Sums, ridge: float | None = None) -> Solution:
    """Solve for the weights of all classes.

    Args:
        sums: The sums over all images.
        ridge: The ridge; None chooses it by ``ridge_of``.
    """
    matrix = sums.matrix()
    if ridge is None:
        ridge = ridge_of(sums, sums.counts, matrix=matrix)
    matrix.diagonal().add_(ridge)
    return Solution(sums, ridge, torch.linalg.cholesky(matrix))


def ridge_of(sums: Sums, counts: Tensor, *, ridges: Sequence[float] = RIDGES, matrix: Tensor | None = None) -> float:
    """The ridge with the least error of images that are left out, from the sums alone.

    Args:
        sums: The sums over all images.
        counts: Independent images of each class ``(c,)``. The only image of a class tells nothing.
        ridges: The ridges to choose from, ascending. Of those within ``EQUAL`` of the least error the largest is taken, which
            rounding does not change.
        matrix: The normal matrix of the sums, if it is at hand.
    """
    if sums.class_balance and not bool((counts > 1).any()):
        return WITHOUT_EVIDENCE
    matrix = sums.matrix() if matrix is None else matrix
    values, vectors = torch.linalg.eigh(matrix)
    seen = values > values[-1] * len(values) * torch.finfo(values.dtype).eps  # the others are zero but for rounding
    values, vectors = values[seen], vectors[:, seen]
    overlaps = values.new_zeros(len(values), len(values))
    for part in sums.right_hand_side():
        along = vectors.T @ part
        overlaps.addmm_(along, along.T)
    candidates = torch.tensor(ridges, dtype=matrix.dtype, device=matrix.device)[:, None]  # [r, 1]
    error = left_out_errors if sums.class_balance else cross_validation_errors
    errors = error(values, overlaps, counts, counts.sum() + sums.forgotten, candidates)
    return float(ridges[int(torch.nonzero(errors <= errors.min() * (1 + EQUAL))[-1])])


def left_out_errors(values: Tensor, overlaps: Tensor, counts: Tensor, images: Tensor, ridges: Tensor) -> Tensor:
    """Squared error ``(r,)`` of an image that is left out, the mean over classes with several images, for each ridge.

    This is generalised cross-validation for classes that weigh the same: the squares of ``leave_one_out``, with its products of
    single images replaced by their means over all images. With B the normal matrix plus the ridge and M = m^T B^-1 m of the
    class means m, images scatter by e^T B^-1 e in B, and their scores by the trace of W^T S W. Both are those of a class with
    very many images; around its own mean, the images of a class with k scatter less by 1 - 1/k.

    Args:
        values: Eigenvalues of the normal matrix ``(m,)``, none of them zero.
        overlaps: Sum over the class means of their products along two eigenvectors each, ``(m, m)``.
        counts: Independent images of each class ``(c,)``.
        images: The number of images whose scatter is in the normal matrix.
        ridges: The ridges ``(r, 1)``.
    """
    classes, inverse, lengths = len(counts), 1 / (values + ridges), overlaps.diagonal()
    own = inverse @ lengths  # the trace of M, [r]
    total = (inverse @ overlaps.square() * inverse).sum(1)  # the sum of the squares of M
    free = classes * (1 - classes / images)  # the scatter has the weight C / n, and n - C degrees of freedom
    scatter = ((inverse * values).sum(1) - own) / free
    spread = (inverse.square() * values @ lengths - total) / free
    bias = (1 - (2 * own - total) / classes).clamp(min=0)
    scatter, spread, bias, own = (part[:, None] for part in (scatter, spread, bias, own / classes))
    k = counts[counts > 1]
    rest, share = k - 1, classes / images
    scatter, spread = (1 - 1 / k) * scatter, (1 - 1 / k) * spread
    lost = 1 / rest.square() - share * k / rest
    grown = (1 + own / rest) / (1 + lost * scatter - own * scatter / rest.square())
    errors: Tensor = ((1 + grown * scatter / rest).square() * bias + grown.square() * spread).mean(1)
    return errors


def cross_validation_errors(values: Tensor, overlaps: Tensor, counts: Tensor, images: Tensor, ridges: Tensor) -> Tensor:
    """The generalised cross-validation error ``(r,)`` if every image weighs the same. Arguments as of ``left_out_errors``."""
    lengths = overlaps.diagonal()
    # What no ridge can fit, and what the ridge gives up: the difference of large numbers only once, so small ones stay exact.
    unfitted = (len(counts) - (lengths / values).sum()).clamp(min=0)
    residual = unfitted + (lengths / values * (ridges / (values + ridges)).square()).sum(1)
    leverage = (values / (values + ridges)).sum(1) / images
    return residual * (1 - leverage).clamp(min=0).pow(-2)


@dataclass(frozen=True)
class LeftOut:
    """Scores that images would get if each had not been learned itself; rows of them are computed when they are asked for.

    Attributes:
        features: ``(n, m)``; the scores are features^T weights, ...
        labels: ... but for the class of each image ``(n,)``, ...
        shift: ... whose score is lower by this ``(n,)``.
        solution: The solved classifier.
        weights: Its weights ``(m, c)``, if they are at hand. Without them, each row is solved, which is exact for any ridge.
    """

    features: Tensor
    labels: Tensor
    shift: Tensor
    solution: Solution
    weights: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The scores ``(k, c)`` of the images at positions ``rows`` ``(k,)``."""
        if self.weights is not None:
            scores = self.features[rows].to(self.weights) @ self.weights
        else:
            sums = self.solution.sums
            scores = (torch.cholesky_solve(self.features[rows].T, self.solution.factor).T @ sums.targets).mul_(sums.scale)
        scores[torch.arange(len(scores), device=scores.device), self.labels[rows]] -= self.shift[rows].to(scores)
        return scores

    @property
    def scores(self) -> Tensor:
        """The scores of all images, ``(n, c)``."""
        return self[torch.arange(len(self.labels), device=self.labels.device)]


def leave_one_out(solution: Solution, phi: Tensor, labels: Tensor, standing: Tensor | None = None) -> LeftOut:
    """Scores ``(n, c)`` that images would get if each had not been learned itself; only the C / n of ``Sums.matrix`` is kept.

    Without an image, the mean m of its class becomes m - e / (n_c - 1), with e = phi - m, and the scatter S loses
    n_c / (n_c - 1) e e^T. This changes the normal matrix A by U K U^T, with U = [e, m] and a small matrix K. With P = U^T A^-1 U,
    its inverse becomes A^-1 - A^-1 U (I + K P)^-1 K U^T A^-1.

    Args:
        solution: The solved classifier.
        phi: Features of images that it has learned, ``(n, m)``.
        labels: Their classes, ``(n,)``. The scores of the only image of a class mean nothing.
        standing: The features that stand for these images in the sums, ``(n, m)``, if they are not ``phi``.
    """
    sums, factor = solution.sums, solution.factor
    standing = phi if standing is None else standing
    if not sums.class_balance:  # A loses w s s^T, with w = C / n and s the features that are left out
        s, p = (torch.linalg.solve_triangular(factor, part.T, upper=False) for part in (standing, phi))
        ss, ps = s.square().sum(0), (s * p).sum(0)
        given = sums.share * ps / (1 - sums.share * ss)
        return LeftOut(phi + given[:, None] * standing, labels, given, solution)
    counts = sums.counts[labels]
    means = (sums.targets[:, labels] / counts).T  # m
    offsets = standing - means  # e
    e, m, p = (torch.linalg.solve_triangular(factor, part.T, upper=False) for part in (offsets, means, phi))
    ee, em, mm, pe, pm = ((one * two).sum(0) for one, two in ((e, e), (e, m), (m, m), (p, e), (p, m)))
    rest = (counts - 1).clamp(min=1)
    lost = 1 / rest.square() - sums.share * counts / rest  # K = [[lost, -1 / rest], [-1 / rest, 0]]
    changed = torch.stack([1 + lost * ee - em / rest, lost * em - mm / rest, -ee / rest, 1 - em / rest], dim=1)
    given = torch.stack([lost * pe - pm / rest, -pe / rest], dim=1)
    g = torch.linalg.solve(changed.view(-1, 2, 2), given)  # (I + K P)^-1 K U^T A^-1 phi
    shift = (pe - g[:, 0] * ee - g[:, 1] * em) / rest  # from the mean of the class, which moves too
    return LeftOut(phi - g[:, :1] * offsets - g[:, 1:] * means, labels, shift, solution)
