"""The loss of an adapter phase, and its exact gradient accumulated over micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.backbone import Backbone
from mgclip.clip.compute import retry_halving

TEXTS_AT_ONCE = 256
"""Texts encoded with their activations at once. More texts are encoded part by part, twice in a step."""


@dataclass(frozen=True)
class Objective:
    """A loss over items: the loss of a batch is the sum of weight times loss over its items.

    Attributes:
        count: The number of items; an item is a position below it.
        pixels: Items ``(b,)`` -> images ``(b, 3, s, s)`` uint8.
        tokens: Token ids of the texts ``(c, length)`` or ``(c, templates, length)``.
        weights: All items of a batch ``(b,)`` -> their weights ``(b,)``.
        losses: Image features ``(m, d)`` of some items, text features ``(c, d)`` and these items ``(m,)`` -> losses ``(m,)``.
    """

    count: int
    pixels: Callable[[Tensor], Tensor]
    tokens: Tensor
    weights: Callable[[Tensor], Tensor]
    losses: Callable[[Tensor, Tensor, Tensor], Tensor]


def mean_weights(picked: Tensor) -> Tensor:
    """Every item of a batch weighs the same."""
    return torch.full((len(picked),), 1 / len(picked))


def backward(
    backbone: Backbone,
    objective: Objective,
    picked: Tensor,
    pixels: Tensor,
    trained: Sequence[Tensor],
    scaler: Any,
) -> Tensor:
    """Compute the gradient of the loss of a batch, summed over processes: images pass in micro-batches, texts once.

    Args:
        backbone: The CLIP.
        objective: The loss.
        picked: The items of the batch ``(b,)``, of which each process has a part.
        pixels: The images of the part of this process, ``(n, 3, size, size)`` uint8.
        trained: The weights that get the gradient.
        scaler: The gradient scaler of float16.

    Returns:
        The loss, a scalar.
    """
    own, weights = parallel.shard(picked), parallel.shard(objective.weights(picked)).to(backbone.device)
    templates = 1 if objective.tokens.ndim == 2 else objective.tokens.shape[1]
    at_once = max(1, TEXTS_AT_ONCE // templates)
    parts_of_texts = objective.tokens.split(at_once)

    def attempt(micro_batch: int) -> Tensor:
        for weight in trained:
            weight.grad = None
        # Many texts would fill the memory that images need, so they are first encoded without a gradient, part by part.
        with torch.set_grad_enabled(len(parts_of_texts) == 1):
            texts = torch.cat([backbone.text_features(part) for part in parts_of_texts])  # [c, d]
        leaf = texts.detach().requires_grad_()
        total = torch.zeros((), device=backbone.device)
        scaler.scale(total)  # a process without an image of this batch has nothing else to scale
        for part, some in zip(torch.arange(len(own)).split(micro_batch), pixels.split(micro_batch), strict=True):
            if len(part) == 0:
                continue
            images = backbone.image_features(some)  # [m, d]
            loss = (weights[part] * objective.losses(images, leaf, own[part])).sum()
            scaler.scale(loss).backward()
            total += loss.detach()
        if leaf.grad is None:
            return total
        if len(parts_of_texts) == 1:
            texts.backward(leaf.grad)
        else:
            for tokens, gradient in zip(parts_of_texts, leaf.grad.split(at_once), strict=True):
                backbone.text_features(tokens).backward(gradient)
        return total

    total, backbone.compute.micro_batch = retry_halving(backbone.compute.micro_batch, len(own), attempt)
    for weight in trained:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    parallel.sum_over_processes([*(weight.grad for weight in trained if weight.grad is not None), total])
    return total
