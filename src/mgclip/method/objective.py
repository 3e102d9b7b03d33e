"""What a training phase of the adapters minimises, and one exact gradient of it in as many passes as memory needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.backbone import Backbone
from mgclip.clip.compute import retry_halving_micro_batch

TEXTS_AT_ONCE = 256
"""Texts that keep their activations for the backward pass together; more are passed part by part, twice in a step."""


@dataclass(frozen=True)
class Objective:
    """The loss of a batch of items is the sum over its items of weight times loss.

    Items are positions in 0..``count``. ``pixels``: positions ``(b,)`` -> images ``(b, 3, s, s)`` uint8. ``tokens``: the texts it
    compares with. ``weights``: positions of the whole batch ``(b,)`` -> ``(b,)``. ``losses``: image features ``(m, d)``, text
    features ``(c, d)`` and the positions ``(m,)`` of some items -> ``(m,)``.
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
    own: Tensor,
    pixels: Tensor,
    trained: Sequence[Tensor],
    scaler: Any,
) -> Tensor:
    """Put the gradient of a batch's loss into ``trained`` and return the loss, a scalar.

    ``picked``: the batch; ``own``: this process's share of it, whose ``pixels`` are given. Images pass in micro-batches, texts
    once; the gradient is that of the whole batch, summed over processes.
    """
    weight_of = dict(zip(picked.tolist(), objective.weights(picked).tolist(), strict=True))
    weights = torch.tensor([weight_of[item] for item in own.tolist()], device=backbone.device)
    parts_of_texts = objective.tokens.split(TEXTS_AT_ONCE)

    def attempt(micro_batch: int) -> Tensor:
        for weight in trained:
            weight.grad = None
        # Many texts would fill the memory that images need: then they are encoded without a gradient first, part by part.
        with torch.set_grad_enabled(len(parts_of_texts) == 1):
            texts = torch.cat([backbone.text_features(part) for part in parts_of_texts])  # [c, d]
        leaf = texts.detach().requires_grad_()
        total = torch.zeros((), device=backbone.device)
        scaler.scale(total)  # a process without an image of this batch has nothing else to scale
        for part in torch.arange(len(own)).split(micro_batch):
            if len(part) == 0:
                continue
            images = backbone.image_features(pixels[part])  # [m, d]
            loss = (weights[part] * objective.losses(images, leaf, own[part])).sum()
            scaler.scale(loss).backward()
            total += loss.detach()
        if leaf.grad is None:
            return total
        if len(parts_of_texts) == 1:
            texts.backward(leaf.grad)
        else:
            for tokens, slope in zip(parts_of_texts, leaf.grad.split(TEXTS_AT_ONCE), strict=True):
                backbone.text_features(tokens).backward(slope)
        return total

    total = retry_halving_micro_batch(backbone.compute, len(own), attempt)
    for weight in trained:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    parallel.sum_over_processes([*(weight.grad for weight in trained if weight.grad is not None), total])
    return total
