"""A solved head as predictions use it: a few tensors in single precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mgclip.method.analytic.random_features import activate
from mgclip.method.settings import Kernel

TENSORS = ("matrix", "shift", "weights", "constant")


@dataclass(frozen=True)
class Scorer:
    """The tensors of a solved head: scores = scale cos(u matrix + shift) weights + constant.

    Attributes:
        matrix: R of the random features, ``(d, width)``.
        shift: b of the random features, ``(width,)``.
        weights: ``(width, c)``.
        constant: ``(c,)``, the weights of the constant feature.
        kernel: The kernel of the random features; with ``relu``, relu takes the place of cos.
        scale: The factor of the random features, kept apart from the weights so that these need no copy.
    """

    matrix: Tensor
    shift: Tensor
    weights: Tensor
    constant: Tensor
    kernel: Kernel = "fourier"
    scale: float = 1.0

    def scores(self, features: Tensor) -> Tensor:
        """Normalised image features ``(b, d)`` -> scores ``(b, c)``."""
        waves = self.scale * activate(features @ self.matrix + self.shift, self.kernel)
        return torch.addmm(self.constant, waves, self.weights)

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, with the scale in the weights."""
        return {name: getattr(self, name) for name in TENSORS} | {"weights": self.scale * self.weights}
