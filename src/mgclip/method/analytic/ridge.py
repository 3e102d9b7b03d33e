"""The ridge of a solved classifier, chosen from its sums alone (docs/method.md 10).

Source: Golub, Heath and Wahba, *Generalized Cross-Validation as a Method for Choosing a Good Ridge Parameter*, Technometrics
1979.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from mgclip.method.analytic.sums import Sums

RIDGES: tuple[float, ...] = tuple(10.0 ** (power / 2) for power in range(-8, 5))
"""Ridges that cross-validation chooses from, ascending. Smaller ones fit no better, and amplify rounding."""

START = 3
"""Position of the ridge whose error is computed first. The choice does not depend on it, only the time of the search."""

EQUAL = 1e-3
"""Errors that differ by less than this share count as equal."""

BLOCK = 256
"""Columns of the inverse of a factor that are computed at a time."""

WITHOUT_EVIDENCE = 1.0
"""The ridge if every class has a single image, so that none can be left out."""


def ridge_of(sums: Sums, counts: Tensor, *, matrices: tuple[Tensor, Tensor] | None = None) -> float:
    """The ridge with the least error of images that are left out, from the sums alone. Of those within ``EQUAL`` of the least
    error the largest is taken, which rounding does not change.

    Args:
        sums: The sums over all images.
        counts: Independent images of each class ``(c,)``. A class with a single image does not count.
        matrices: What ``sums.matrices`` returns, if it was computed already.

    Returns:
        One of ``RIDGES``; ``WITHOUT_EVIDENCE`` if no image can be left out.
    """
    if sums.class_balance and not bool((counts > 1).any()):
        return WITHOUT_EVIDENCE
    matrix, outer = matrices or sums.matrices()
    many = len(sums.counts) >= len(outer)
    right = outer if many else torch.cat([*sums.right_hand_side()], 1)
    images = counts.sum().item() + sums.forgotten
    error_of = left_out_error if sums.class_balance else cross_validation_error

    @cache
    def error(place: int) -> float:
        traces = traces_of(matrix, RIDGES[place], right, outer=many)
        return error_of(traces, counts, images)

    return RIDGES[valley(error, len(RIDGES))]


def valley(error: Callable[[int], float], number: int) -> int:
    """The last position whose error is within ``EQUAL`` of the least, of ``number`` errors that first fall and then rise."""
    place = min(START, number - 1)
    while place > 0 and error(place - 1) < error(place):
        place -= 1
    while place < number - 1 and error(place + 1) < error(place):
        place += 1
    least = error(place)
    while place < number - 1 and error(place + 1) <= least * (1 + EQUAL):
        place += 1
    return place


@dataclass(frozen=True)
class Traces:
    """What cross-validation needs of a ridge. A is the normal matrix, B = A + ridge I, and r a column of the right-hand side.

    Attributes:
        freedom: The trace of A B^-1.
        own: The sum of r^T B^-1 r over all columns.
        squares: The sum of (r^T B^-1 r')^2 over all pairs of columns r and r'.
        fitted: The sum of r^T B^-1 A B^-1 r over all columns.
    """

    freedom: float
    own: float
    squares: float
    fitted: float


def traces_of(matrix: Tensor, ridge: float, right: Tensor, *, outer: bool) -> Traces:
    """The traces of a ridge.

    Args:
        matrix: The normal matrix ``(m, m)``.
        ridge: The ridge.
        right: The columns of the right-hand side ``(m, c)``, or the sum of their outer products ``(m, m)``.
        outer: Whether it is that sum, which does not grow with the number of classes.
    """
    shifted = matrix.clone()
    shifted.diagonal().add_(ridge)
    factor = torch.linalg.cholesky(shifted)
    if outer:
        inverse = torch.cholesky_inverse(factor)
        product = inverse @ right
        own, squares, norms = product.trace(), (product * product.T).sum(), (product * inverse).sum()
        trace = inverse.trace()
    else:
        weights = torch.cholesky_solve(right, factor)
        product = right.T @ weights
        own, squares, norms = product.trace(), product.square().sum(), weights.square().sum()
        trace = trace_of_inverse(factor)
    return Traces((len(matrix) - ridge * trace).item(), own.item(), squares.item(), (own - ridge * norms).item())


def trace_of_inverse(factor: Tensor) -> Tensor:
    """The trace of the inverse of a matrix with the Cholesky factor L ``(m, m)``. It is the sum of the squares of L^-1.

    L^-1 is zero above its diagonal. Its columns are computed ``BLOCK`` at a time, from the diagonal on, which takes half the time
    of the inverse.
    """
    traces = []
    for start in range(0, len(factor), BLOCK):
        below = factor[start:, start:]
        columns = torch.eye(len(below), min(BLOCK, len(below)), dtype=factor.dtype, device=factor.device)
        traces.append(torch.linalg.solve_triangular(below, columns, upper=False).square().sum())
    return torch.stack(traces).sum()


def left_out_error(traces: Traces, counts: Tensor, images: float) -> float:
    """Squared error of an image that is left out, the mean over classes with several images.

    This is generalised cross-validation for classes that weigh the same: the squares of ``leave_one_out``, with its products of
    single images replaced by their means over all images. With e = phi - m_c, images scatter by rho, the mean of e^T B^-1 e, and
    their scores by tau, the mean of |W^T e|^2. Both are those of a class with very many images; around its own mean, the images
    of a class with k scatter less by 1 - 1/k.

    Args:
        traces: The traces of the ridge.
        counts: Independent images of each class ``(c,)``.
        images: The number of images whose scatter is in the normal matrix.
    """
    classes = len(counts)
    free = classes * (1 - classes / images)  # the scatter has the weight C / n, and n - C degrees of freedom
    k = counts[counts > 1]
    rest, share, own = k - 1, classes / images, traces.own / classes
    # Neither is negative; of images that are all alike rounding could make it so.
    scatter = (1 - 1 / k) * (max(0.0, traces.freedom - traces.own) / free)
    spread = (1 - 1 / k) * (max(0.0, traces.fitted - traces.squares) / free)
    bias = max(0.0, 1 - (2 * traces.own - traces.squares) / classes)
    lost = 1 / rest.square() - share * k / rest
    grown = (1 + own / rest) / (1 + lost * scatter - own * scatter / rest.square())
    return float(((1 + grown * scatter / rest).square() * bias + grown.square() * spread).mean())


def cross_validation_error(traces: Traces, counts: Tensor, images: float) -> float:
    """The generalised cross-validation error if every image weighs the same. Arguments as of ``left_out_error``."""
    residual = max(0.0, len(counts) - 2 * traces.own + traces.fitted)
    return residual / max(1 - traces.freedom / images, torch.finfo(torch.float64).tiny) ** 2
