"""Analytic compensation: the classifier in image space is solved from sums instead of trained (docs/method.md 10).

Ridge regression on random features of the image features, in which every class weighs the same. What it has learned are sums over
images, so neither the order of images nor their split into tasks matters, a known class grows by addition, and an image can be
taken out again.

Source: Golub, Heath and Wahba, *Generalized Cross-Validation as a Method for Choosing a Good Ridge Parameter*, Technometrics
1979.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
        known = self.padded(int(labels.max()) + 1)
        hot = F.one_hot(labels, len(known.counts)).to(phi)
        gram, targets = self.gram + sign * phi.T @ phi, known.targets + sign * phi.T @ hot
        return replace(self, gram=gram, targets=targets, counts=known.counts + sign * hot.sum(0))

    def padded(self, classes: int) -> Sums:
        """The sums over at least this number of classes; those that are added have no image."""
        more = max(0, classes - len(self.counts))
        return replace(self, targets=F.pad(self.targets, (0, more)), counts=F.pad(self.counts, (0, more)))

    def merged(self, other: Sums, places: Sequence[int]) -> Sums:
        """The sums of both; class i of ``other`` is class ``places[i]`` of the result, new classes last."""
        index, known = torch.tensor(places, dtype=torch.long, device=self.gram.device), self.padded(max(places, default=-1) + 1)
        targets, counts = known.targets.index_add(1, index, other.targets), known.counts.index_add(0, index, other.counts)
        gram, forgotten = self.gram + other.gram, self.forgotten + other.forgotten
        return replace(self, gram=gram, targets=targets, counts=counts, forgotten=forgotten)

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

    def equations(self) -> tuple[Tensor, Tensor]:
        """The normal matrix ``(m, m)`` and the right-hand side ``(m, c)`` to solve for the weights, before the ridge is added."""
        return self.balanced() if self.class_balance else (self.share * self.gram, self.share * self.targets)

    @property
    def share(self) -> float:
        """C / n: the weight of an image if all images weigh the same, and all together as much as with class balance."""
        return len(self.counts) / self.images

    def balanced(self) -> tuple[Tensor, Tensor]:
        """The normal matrix ``(m, m)`` in which every class weighs the same, and the class means ``(m, c)``.

        With n images, m_c the mean and n_c the count of class c, the scatter within classes is S = G - sum of n_c m_c m_c^T.
        The matrix is (C / n) S + sum of m_c m_c^T: classes share one scatter, and each has one vote. Weights of 1 / n_c on every
        image would need the images again whenever a class grows; this needs the sums only.
        """
        means = self.targets / self.counts
        scatter = self.gram - self.targets @ means.T
        return self.share * scatter + means @ means.T, means


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
    own = sums.padded(int(labels.max()) + 1)
    if parallel.rank_and_world_size()[0]:  # the first process has the sums from before
        own = replace(own, gram=0 * own.gram, targets=0 * own.targets, counts=0 * own.counts)
    for rows in parallel.shard(torch.arange(len(labels), device=labels.device)).split(CHUNK):
        own = own.plus(expand(features[rows]), labels[rows], sign=sign)
    gram, targets, counts = parallel.summed_over_processes((own.gram, own.targets, own.counts))
    return replace(own, gram=gram, targets=targets, counts=counts)


@dataclass(frozen=True)
class Solution:
    """The solved classifier.

    Attributes:
        weights: ``(m, c)``; the scores of an image are phi^T weights.
        ridge: The ridge used.
        factor: The Cholesky factor ``(m, m)`` of the normal matrix plus the ridge.
    """

    weights: Tensor
    ridge: float
    factor: Tensor


def solve(sums: Sums, ridge: float | None = None) -> Solution:
    """Solve for the weights of all classes.

    Args:
        sums: The sums over all images.
        ridge: The ridge; None chooses it by ``ridge_of``.
    """
    matrix, targets = sums.equations()
    if ridge is None:
        ridge = ridge_of(sums, sums.counts)
    matrix.diagonal().add_(ridge)
    factor = torch.linalg.cholesky(matrix)
    return Solution(torch.cholesky_solve(targets, factor), ridge, factor)


def ridge_of(sums: Sums, counts: Tensor, *, ridges: Sequence[float] = RIDGES) -> float:
    """The ridge with the least error of images that are left out, from the sums alone.

    Args:
        sums: The sums over all images.
        counts: Independent images of each class ``(c,)``. The only image of a class tells nothing.
        ridges: The ridges to choose from, ascending. Of those within ``EQUAL`` of the least error the largest is taken, which
            rounding does not change.
    """
    if sums.class_balance and not bool((counts > 1).any()):
        return WITHOUT_EVIDENCE
    matrix, targets = sums.equations()
    values, vectors = torch.linalg.eigh(matrix)
    seen = values > values[-1] * len(values) * torch.finfo(values.dtype).eps  # the others are zero but for rounding
    spectrum = values[seen], (vectors.T @ targets)[seen]
    candidates = torch.tensor(ridges, dtype=matrix.dtype, device=matrix.device)[:, None]  # [r, 1]
    images = counts.sum() + sums.forgotten
    error = left_out_errors if sums.class_balance else cross_validation_errors
    errors = error(*spectrum, counts, images, candidates)
    return float(ridges[int(torch.nonzero(errors <= errors.min() * (1 + EQUAL))[-1])])


def left_out_errors(values: Tensor, along: Tensor, counts: Tensor, images: Tensor, ridges: Tensor) -> Tensor:
    """Squared error ``(r,)`` of an image that is left out, the mean over classes with several images, for each ridge.

    This is generalised cross-validation for classes that weigh the same: the squares of ``leave_one_out``, with its products of
    single images replaced by their means over all images. With B the normal matrix plus the ridge and M = m^T B^-1 m of the
    class means m, images scatter by e^T B^-1 e in B, and their scores by the trace of W^T S W. Both are those of a class with
    very many images; around its own mean, the images of a class with k scatter less by 1 - 1/k.

    Args:
        values: Eigenvalues of the normal matrix ``(m,)``, none of them zero.
        along: The class means along its eigenvectors, ``(m, c)``.
        counts: Independent images of each class ``(c,)``.
        images: The number of images whose scatter is in the normal matrix.
        ridges: The ridges ``(r, 1)``.
    """
    classes, inverse, lengths = along.shape[1], 1 / (values + ridges), along.square().sum(1)
    own = inverse @ lengths  # the trace of M, [r]
    total = (inverse @ (along @ along.T).square() * inverse).sum(1)  # the sum of the squares of M
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


def cross_validation_errors(values: Tensor, along: Tensor, counts: Tensor, images: Tensor, ridges: Tensor) -> Tensor:
    """The generalised cross-validation error ``(r,)`` if every image weighs the same. Arguments as of ``left_out_errors``."""
    lengths = along.square().sum(1)
    # What no ridge can fit, and what the ridge gives up: the difference of large numbers only once, so small ones stay exact.
    unfitted = (len(counts) - (lengths / values).sum()).clamp(min=0)
    residual = unfitted + (lengths / values * (ridges / (values + ridges)).square()).sum(1)
    leverage = (values / (values + ridges)).sum(1) / images
    return residual * (1 - leverage).clamp(min=0).pow(-2)


def leave_one_out(solution: Solution, phi: Tensor, labels: Tensor, sums: Sums, standing: Tensor | None = None) -> Tensor:
    """Scores ``(n, c)`` that images would get if each had not been learned itself; only the C / n of ``balanced`` is kept.

    Without an image, the mean m of its class becomes m - e / (n_c - 1), with e = phi - m, and the scatter S loses
    n_c / (n_c - 1) e e^T. This changes the normal matrix A by U K U^T, with U = [e, m] and a small matrix K. With P = U^T A^-1 U,
    its inverse becomes A^-1 - A^-1 U (I + K P)^-1 K U^T A^-1.

    Args:
        solution: The solved classifier.
        phi: Features of images that it has learned, ``(n, m)``.
        labels: Their classes, ``(n,)``. The scores of the only image of a class mean nothing.
        sums: The sums that were solved.
        standing: The features that stand for these images in the sums, ``(n, m)``, if they are not ``phi``.
    """
    if not sums.class_balance:
        return _leave_one_image_out(solution, phi, labels, sums, phi if standing is None else standing)
    means = sums.targets / sums.counts
    offsets = (phi if standing is None else standing) - means.T[labels]  # e
    own = F.one_hot(labels, len(sums.counts)).to(phi)
    of_means = (means.T @ solution.weights)[labels]  # m^T A^-1 of all means, [n, c]
    of_offsets = offsets @ solution.weights  # e^T A^-1 of all means, [n, c]
    scores = phi @ solution.weights
    mm, em, pm = ((part * own).sum(1) for part in (of_means, of_offsets, scores))
    half = torch.linalg.solve_triangular(solution.factor, offsets.T, upper=False)
    ee = half.square().sum(0)
    if standing is None:
        pe = ee + em
    else:
        pe = (half * torch.linalg.solve_triangular(solution.factor, phi.T, upper=False)).sum(0)
    counts = sums.counts[labels]
    rest = (counts - 1).clamp(min=1)
    lost = 1 / rest.square() - sums.share * counts / rest  # K = [[lost, -1 / rest], [-1 / rest, 0]]
    changed = torch.stack([1 + lost * ee - em / rest, lost * em - mm / rest, -ee / rest, 1 - em / rest], dim=1)
    given = torch.stack([lost * pe - pm / rest, -pe / rest], dim=1)
    g = torch.linalg.solve(changed.view(-1, 2, 2), given)  # (I + K P)^-1 K U^T A^-1 phi
    shift = (pe - g[:, 0] * ee - g[:, 1] * em) / rest  # from the mean of the class, which moves too
    left_out: Tensor = scores - g[:, :1] * of_offsets - g[:, 1:] * of_means - own * shift[:, None]
    return left_out


def _leave_one_image_out(solution: Solution, phi: Tensor, labels: Tensor, sums: Sums, standing: Tensor) -> Tensor:
    """``leave_one_out`` if all images weigh the same: A loses w s s^T, with w = C / n and s the features that are left out."""
    half = torch.linalg.solve_triangular(solution.factor, standing.T, upper=False)
    ss, ps = half.square().sum(0), (half * torch.linalg.solve_triangular(solution.factor, phi.T, upper=False)).sum(0)
    given = sums.share * ps / (1 - sums.share * ss)
    left_out: Tensor = phi @ solution.weights + given[:, None] * (
        standing @ solution.weights - F.one_hot(labels, len(sums.counts))
    )
    return left_out
