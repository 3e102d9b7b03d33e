"""The units of work that are timed: passes of images and of texts, and a training step of the head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from mgclip.bench.timing import Work
from mgclip.clip.adapters import adapter_weights
from mgclip.clip.backbone import Backbone
from mgclip.method.compensation import cosines


def image_work(backbone: Backbone, count: int, *, train: bool) -> Work:
    """A pass of ``count`` images; with ``train``, also the backward pass to the adapters."""
    pixels = torch.randint(0, 256, (count, 3, backbone.image_size, backbone.image_size), dtype=torch.uint8)
    return _pass(backbone, lambda: backbone.image_features(pixels), train=train)


def text_work(backbone: Backbone, tokens: torch.Tensor, *, train: bool) -> Work:
    """A pass of texts; with ``train``, also the backward pass to the adapters."""
    return _pass(backbone, lambda: backbone.text_features(tokens), train=train)


def _pass(backbone: Backbone, encode: Callable[[], torch.Tensor], *, train: bool) -> Work:
    trained = [weight for _, weight in adapter_weights(backbone)]

    def work() -> None:
        with torch.set_grad_enabled(train):
            features = encode()
            if train:
                features.sum().backward()
                for weight in trained:
                    weight.grad = None

    return work


def head_work(backbone: Backbone, classes: int, batch: int) -> Work:
    """A training step of a head of ``classes`` rows on ``batch`` random features."""
    rows = torch.nn.Parameter(torch.randn(classes, backbone.feature_dim, device=backbone.device))
    features = random_features(batch, backbone)
    labels, optimizer = torch.randint(0, classes, (batch,), device=backbone.device), torch.optim.Adam([rows])

    def work() -> None:
        loss = F.cross_entropy(cosines(features, rows), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return work


def random_features(count: int, backbone: Backbone) -> torch.Tensor:
    """Random normalised features ``(count, d)``, on the device of the CLIP."""
    return F.normalize(torch.randn(count, backbone.feature_dim, device=backbone.device), dim=-1)


def full_length_tokens(backbone: Backbone, texts: Sequence[str]) -> torch.Tensor:
    """Token ids ``(n, full length)`` of texts, padded to the full length of the text tower."""
    length = int(backbone.model.config.text_config.max_position_embeddings)
    ids = backbone.tokenizer(list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    tokens: torch.Tensor = ids["input_ids"].to(backbone.device)
    return tokens
