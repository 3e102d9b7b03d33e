"""Which image feature the solved head classifies, chosen on the first task (docs/method.md 10)."""

from __future__ import annotations

from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.representation import REPRESENTATIONS, Representation, part_of_both
from mgclip.method.analytic.evidence import squared_errors

MARGIN = 0.1
"""The share by which an error must be below that of the projected feature. Smaller differences can come from the random draw."""


def choose_representation(both: Tensor, labels: Tensor, dim: int) -> Representation:
    """The representation with the least squared error of images that are left out; the projected one if none is clearly better.

    Args:
        both: Normalised features of the images in both representations ``(n, d + w)``.
        labels: Their classes ``(n,)``. A class with a single image does not count.
        dim: The length d of a projected feature.
    """
    several = labels.bincount()[labels] > 1
    if not bool(several.any()) or int(labels.max()) == 0:
        return "projected"
    errors = {
        kind: parallel.broadcast_float(squared_errors(part_of_both(both, kind, dim), labels)[several].mean().item())
        for kind in REPRESENTATIONS
    }
    best = min(REPRESENTATIONS, key=lambda kind: errors[kind])
    return best if errors[best] < (1 - MARGIN) * errors["projected"] else "projected"
