"""Arithmetic of the two towers, counted from their shapes; one multiply-add is two operations (docs/performance.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tower:
    """A transformer tower: ``tokens`` of width ``width`` through ``layers``; ``embed`` operations before the first layer.

    ``pooled_last``: the last layer computes one token only (``clip/last_layer.py``).
    """

    layers: int
    width: int
    mlp: int
    tokens: int
    embed: float
    pooled_last: bool

    def linear(self) -> float:
        """Operations of all linear maps, forward, for one item."""
        attention, mlp = 8 * self.width**2, 4 * self.width * self.mlp  # q, k, v, o; up and down: per token
        whole = self.layers * self.tokens * (attention + mlp)
        if not self.pooled_last:
            return whole
        return whole - (self.tokens - 1) * (attention / 2 + mlp)  # keys and values are still those of all tokens

    def mixing(self) -> float:
        """Operations of the attention's two products, forward, for one item."""
        rows = self.layers * self.tokens - (self.tokens - 1 if self.pooled_last else 0)
        return 4 * rows * self.tokens * self.width

    def forward(self) -> float:
        """Operations of one item without training."""
        return self.embed + self.linear() + self.mixing()

    def training(self) -> float:
        """Operations of one item forward and backward. Weights are frozen: a linear map's backward is its input's gradient
        alone, as much as its forward; each attention product has two. The adapters, under 1 %, are not counted.
        """
        return self.embed + 2 * self.linear() + 3 * self.mixing()


def image_tower(vision: Any, *, pooled_last: bool = True) -> Tower:
    """The image tower of a ``CLIPVisionConfig``."""
    patches = (vision.image_size // vision.patch_size) ** 2
    embed = 2.0 * patches * 3 * vision.patch_size**2 * vision.hidden_size
    return Tower(
        vision.num_hidden_layers, vision.hidden_size, vision.intermediate_size, patches + 1, embed, pooled_last
    )


def text_tower(text: Any, tokens: int) -> Tower:
    """The text tower of a ``CLIPTextConfig`` on texts of so many tokens."""
    return Tower(text.num_hidden_layers, text.hidden_size, text.intermediate_size, tokens, 0.0, False)
