"""Ridge regression from running sums, as RanPAC and ACIL solve it."""

from __future__ import annotations

import torch
from torch import Tensor


def solve_ridge(gram: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """(G + ridge I)^-1 Q, ``(M, c)``."""
    system = gram.clone()
    system.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(system)
    weights: Tensor
    if failed:  # rounding may leave a negative eigenvalue that a tiny ridge does not make positive
        weights = torch.linalg.solve(system, targets)
    else:
        del system  # `cholesky_solve` copies the factor, so three matrices besides G would be in memory
        weights = torch.cholesky_solve(targets, factor)
    return weights
