"""What the feature of an image is: projected next to the texts, as it comes from the image tower, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:  # settings need the names only, without PyTorch
    from torch import Tensor

Representation = Literal["projected", "pre-projection", "both"]
REPRESENTATIONS: tuple[Representation, ...] = get_args(Representation)


def represent(projected: Tensor, pooled: Tensor, representation: Representation) -> Tensor:
    """Normalised features of images from their projected ones ``(n, d)`` and the pooled ones ``(n, w)`` before the projection."""
    import torch
    from torch.nn.functional import normalize

    parts = {"projected": [projected], "pre-projection": [pooled], "both": [projected, pooled]}[representation]
    parts = [normalize(part, dim=-1) for part in parts]
    return parts[0] if len(parts) == 1 else normalize(torch.cat(parts, dim=-1), dim=-1)


def part_of_both(features: Tensor, representation: Representation, dim: int) -> Tensor:
    """One representation of images from both ``(n, d + w)``, with ``dim`` the length d of a projected feature."""
    return represent(features[..., :dim], features[..., dim:], representation)
