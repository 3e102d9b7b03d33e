"""A solved head as predictions use it: a few tensors in single precision."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mgclip.method.random_features import activated
from mgclip.method.settings import Kernel


@dataclass(frozen=True)
class Scorer:
    """A solved head as predictions use it, in single precision: scores = cos(u matrix + shift) weights + constant.

    Attributes:
        matrix: R of the random features, ``(d, width)``.
        shift: b of the random features, ``(width,)``.
        weights: ``(width, c)``, with the factor sqrt(2 / width) of the features.
        constant: ``(c,)``, the weights of the constant feature.
        kernel: The kernel of the random features; with ``relu``, relu takes the place of cos.
    """

    matrix: Tensor
    shift: Tensor
    weights: Tensor
    constant: Tensor
    kernel: Kernel = "fourier"

    def scores(self, features: Tensor) -> Tensor:
        """Normalised image features ``(b, d)`` -> scores ``(b, c)``."""
        return activated(features @ self.matrix + self.shift, self.kernel) @ self.weights + self.constant

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {name: value for name, value in vars(self).items() if name != "kernel"}
