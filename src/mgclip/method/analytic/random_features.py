"""Random features of the solved head, which turn a linear classifier into one with a kernel (docs/method.md 10).

Source: Rahimi and Recht, *Random Features for Large-Scale Kernel Machines*, NeurIPS 2007.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mgclip.clip.representation import Representation
from mgclip.method.settings import Kernel

SAMPLE = 2000
"""Images whose distances decide the width of the kernel."""


@dataclass(frozen=True)
class RandomFeatures:
    """Random features of image features, and a constant.

    Fourier features belong to the kernel exp(-gamma |u - u'|^2): phi = [sqrt(2 / width) cos(R u + theta); 1] with R drawn
    from N(0, 2 gamma) and theta from U(0, 2 pi).

    Attributes:
        dim: Length of an image feature u.
        width: Number of random features.
        gamma: Inverse width of the kernel.
        seed: Seed from which R and theta are drawn.
        kernel: ``relu`` has relu(R u) instead of cos(R u + theta), with R from N(0, 1), as in RanPAC and ACIL.
        representation: What the image features are.
    """

    dim: int
    width: int
    gamma: float
    seed: int
    kernel: Kernel = "fourier"
    representation: Representation = "projected"

    @cached_property
    def drawn(self) -> tuple[Tensor, Tensor]:
        """R ``(dim, width)`` and theta ``(width,)``, in double precision."""
        generator = torch.Generator().manual_seed(self.seed)
        matrix = torch.randn(self.dim, self.width, generator=generator, dtype=torch.float64)
        shift = torch.rand(self.width, generator=generator, dtype=torch.float64)
        return matrix * math.sqrt(2 * self.gamma), shift * 2 * math.pi

    @property
    def projection(self) -> tuple[Tensor, Tensor]:
        """The matrix ``(dim, width)`` that image features are multiplied by, and the vector ``(width,)`` that is added."""
        matrix, shift = self.drawn
        return (matrix, shift) if self.kernel == "fourier" else (matrix / math.sqrt(2 * self.gamma), 0 * shift)

    def __call__(self, features: Tensor) -> Tensor:
        """Normalised image features ``(n, dim)`` -> ``(n, width + 1)`` in double precision."""
        matrix, shift = (part.to(features.device) for part in self.projection)
        expanded = matrix.new_ones(len(features), self.width + 1)
        waves = torch.mm(features.double(), matrix, out=expanded[:, :-1]).add_(shift)
        activate(waves, self.kernel).mul_(math.sqrt(2 / self.width))
        return expanded


def activate(projected: Tensor, kernel: Kernel) -> Tensor:
    """Turn projected image features into random features in place, without their scale. Returns them."""
    return projected.cos_() if kernel == "fourier" else projected.relu_()


def median_gamma(features: Tensor) -> float:
    """The median rule: 2 over the median squared distance of normalised features ``(n, d)``, whatever their order.

    Of more than ``SAMPLE`` images, those evenly spaced along one fixed direction are taken. A single image has no distance: 1.
    """
    if len(features) > SAMPLE:
        direction = torch.randn(features.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        order = (features.double() @ direction.to(features.device)).argsort(stable=True)
        features = features[evenly_spread(order, SAMPLE)]
    distances = torch.pdist(features.double()).square()
    distances = distances[distances > 0]
    return 2 / distances.median().item() if len(distances) else 1.0


def evenly_spread(order: Tensor, number: int) -> Tensor:
    """``number`` of these positions ``(n,)``, evenly spread; the first and the last one are among them."""
    last = len(order) - 1
    return order[torch.linspace(0, last, number).long().clamp(max=last).to(order.device)]
