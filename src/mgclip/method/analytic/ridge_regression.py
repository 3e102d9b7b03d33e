"""Analytic compensation: the classifier in image space is solved from sums instead of trained (docs/method.md 10).

Ridge regression on random features of the image features, in which every class weighs the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mgclip.method.analytic.ridge import ridge_of
from mgclip.method.analytic.sums import COLUMNS, Sums

MANY = 10_000
"""The weights of more classes than this are kept in single precision, as predictions use them: they are as large as the sums."""


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
        """The weights ``(m, c)``, solved in double precision and returned as ``dtype``."""
        weights = torch.empty(self.sums.targets.shape, dtype=dtype, device=self.factor.device)
        for columns, part in zip(weights.split(COLUMNS, 1), self.sums.right_hand_side(), strict=True):
            columns.copy_(torch.cholesky_solve(part, self.factor))
        return weights


def solve(sums: Sums, ridge: float | None = None, *, counts: Tensor | None = None) -> Solution:
    """Solve for the weights of all classes.

    Args:
        sums: The sums over all images.
        ridge: The ridge; None chooses it by ``ridge_of``.
        counts: Independent images of each class ``(c,)``, if not all images are.
    """
    matrix, outer = sums.matrices()
    if ridge is None:
        ridge = ridge_of(sums, sums.counts if counts is None else counts, matrices=(matrix, outer))
    matrix.diagonal().add_(ridge)
    return Solution(sums, ridge, torch.linalg.cholesky(matrix))


def weights_dtype(classes: int) -> torch.dtype:
    """The precision in which the weights of this number of classes are kept."""
    return torch.float32 if classes > MANY else torch.float64


@dataclass(frozen=True)
class LeftOut:
    """Scores that images would get if each had been left out when the head was solved. A row is computed when it is used.

    The scores of an image are f^T weights for some features f, except that the score of its own class is lower by ``shift``.

    Attributes:
        features: f of each image ``(n, m)``.
        labels: The class of each image ``(n,)``.
        shift: What is subtracted from the score of that class ``(n,)``.
        solution: The solved classifier.
        weights: Its weights ``(m, c)``, if they were computed already.
    """

    features: Tensor
    labels: Tensor
    shift: Tensor
    solution: Solution
    weights: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The scores ``(k, c)`` of the images at positions ``rows`` ``(k,)``."""
        features, sums = self.features[rows], self.solution.sums
        if self.weights is None and len(rows) < len(sums.counts):  # fewer equations to solve than for the weights
            scores = (torch.cholesky_solve(features.T, self.solution.factor).T @ sums.targets).mul_(sums.scale)
        else:
            weights = self.solution.weights if self.weights is None else self.weights
            scores = features.to(weights) @ weights
        scores[torch.arange(len(scores), device=scores.device), self.labels[rows]] -= self.shift[rows].to(scores)
        return scores

    @property
    def scores(self) -> Tensor:
        """The scores of all images, ``(n, c)``."""
        return self[torch.arange(len(self.labels), device=self.labels.device)]


def leave_one_out(
    solution: Solution, phi: Tensor, labels: Tensor, standing: Tensor | None = None, copies: Tensor | None = None
) -> LeftOut:
    """The scores that images would get if each had been left out when the head was solved. The factor C / n of
    ``Sums.matrices``, gamma and the ridge stay those with all images.

    Without an image, the mean m of its class, which has k images, becomes m - e / (k - 1), with e = phi - m, and the scatter S
    loses k / (k - 1) e e^T. Without g copies of an image, both hold with (k - g) / g instead of k - 1. This changes B, the normal
    matrix plus the ridge, by U K U^T, with U = [e, m] and a small matrix K. With P = U^T B^-1 U, its inverse becomes
    B^-1 - B^-1 U (I + K P)^-1 K U^T B^-1.

    Args:
        solution: The solved classifier.
        phi: Features of images that it has learned, ``(n, m)``.
        labels: Their classes, ``(n,)``. The scores of an image whose class has no other image mean nothing.
        standing: The features that stand for these images in the sums, ``(n, m)``, if they are not ``phi``.
        copies: How many of the images that were learned are each image, ``(n,)``; all of them are left out. None for 1.

    Returns:
        The scores, whose rows are computed when they are used.
    """
    sums = solution.sums

    def half(rows: Tensor) -> Tensor:
        """L^-1 of each row; the product of two such rows is that of the rows in B^-1."""
        halves: Tensor = torch.linalg.solve_triangular(solution.factor, rows.T, upper=False)
        return halves.T

    p = half(phi)
    s, stands = (p, phi) if standing is None else (half(standing), standing)
    ss = torch.linalg.vector_norm(s, dim=1).square()
    ps = ss if standing is None else products(p, s)
    if not sums.class_balance:  # B loses w s s^T, with w = C / n and s the features that are left out
        weight = sums.share if copies is None else sums.share * copies.to(ss)
        given = weight * ps / (1 - weight * ss)
        return LeftOut(torch.addcmul(phi, given[:, None], stands), labels, given, solution)
    present, places = labels.unique(return_inverse=True)
    means, counts = (sums.targets[:, present] / sums.counts[present]).T, sums.counts[present][places]
    m = half(means)
    mm, m = m.square().sum(1)[places], m[places]
    pm = products(p, m)
    sm = pm if standing is None else products(s, m)
    ee, em, pe = ss - 2 * sm + mm, sm - mm, ps - pm
    rest = (counts - 1).clamp(min=1) if copies is None else (counts - copies).clamp(min=1) / copies
    lost = 1 / rest.square() - sums.share * counts / rest  # K = [[lost, -1 / rest], [-1 / rest, 0]]
    changed = torch.stack([1 + lost * ee - em / rest, lost * em - mm / rest, -ee / rest, 1 - em / rest], dim=1)
    given = torch.stack([lost * pe - pm / rest, -pe / rest], dim=1)
    g = torch.linalg.solve(changed.view(-1, 2, 2), given)  # (I + K P)^-1 K U^T B^-1 phi
    shift = (pe - g[:, 0] * ee - g[:, 1] * em) / rest  # from the mean of the class, which moves too
    features = means.contiguous()[places].mul_(g[:, :1] - g[:, 1:]).addcmul_(stands, g[:, :1], value=-1).add_(phi)
    return LeftOut(features, labels, shift, solution)


def products(one: Tensor, other: Tensor) -> Tensor:
    """The scalar products ``(n,)`` of the rows of two matrices ``(n, m)``; ``vecdot`` takes twice as long."""
    return torch.einsum("ij,ij->i", one, other)
