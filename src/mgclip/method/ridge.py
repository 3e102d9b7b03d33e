"""The ridge of a solved classifier, chosen from its sums alone (docs/method.md 10).

Source: Golub, Heath and Wahba, *Generalized Cross-Validation as a Method for Choosing a Good Ridge Parameter*, Technometrics
1979.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mgclip.method.sums import Sums

RIDGES = tuple(10.0 ** (power / 2) for power in range(-8, 5))
"""Ridges that cross-validation chooses from. Smaller ones fit no better, and amplify rounding."""

EQUAL = 1e-3
"""Errors that differ by less than this share count as equal."""

WITHOUT_EVIDENCE = 1.0
"""The ridge if every class has a single image, so that none can be left out."""


def ridge_of(
    sums: Sums, counts: Tensor, *, ridges: Sequence[float] = RIDGES, matrices: tuple[Tensor, Tensor] | None = None
) -> float:
    """The ridge with the least error of images that are left out, from the sums alone.

    Args:
        sums: The sums over all images.
        counts: Independent images of each class ``(c,)``. The only image of a class tells nothing.
        ridges: The ridges to choose from, ascending. Of those within ``EQUAL`` of the least error the largest is taken, which
            rounding does not change.
        matrices: What ``sums.matrices`` returns, if it was computed already.

    Returns:
        One of ``ridges``; ``WITHOUT_EVIDENCE`` if no image can be left out.
    """
    if sums.class_balance and not bool((counts > 1).any()):
        return WITHOUT_EVIDENCE
    matrix, outer = matrices or sums.matrices()
    values, vectors = torch.linalg.eigh(matrix)
    seen = values > values[-1] * len(values) * torch.finfo(values.dtype).eps  # the others are zero but for rounding
    values, vectors = values[seen], vectors[:, seen]
    if len(sums.counts) < len(outer):
        along = torch.cat([vectors.T @ part for part in sums.right_hand_side()], 1)
        overlaps = along @ along.T
    else:  # the same without a matrix that grows with the number of classes
        overlaps = vectors.T @ outer @ vectors
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
    # Neither is negative; of images that are all alike rounding could make it so.
    scatter = (((inverse * values).sum(1) - own) / free).clamp(min=0)
    spread = ((inverse.square() * values @ lengths - total) / free).clamp(min=0)
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
