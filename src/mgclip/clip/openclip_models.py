"""The Vision Transformers that OpenCLIP defines by name, for checkpoints that are stored without their configuration."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, NamedTuple

from mgclip.errors import InputError
from mgclip.words import ended, nearest

QUICK_GELU = "-quickgelu"
"""A name with this ending has the sigmoid approximation of gelu, which OpenAI, MetaCLIP and DFN trained with."""
CHECKPOINTS = (".pt", ".pth", ".bin", ".safetensors")
"""Endings of the files that hold weights."""


class Shape(NamedTuple):
    """Dimension of the features; side, patch, width, layers, width of a head and ratio of the MLP of the image tower; width,
    heads and layers of the text tower.
    """

    features: int
    side: int
    patch: int
    width: int
    layers: int
    head_width: int
    mlp_ratio: float
    text_width: int
    text_heads: int
    text_layers: int


SHAPES = {
    "ViT-S-32": Shape(384, 224, 32, 384, 12, 64, 4.0, 384, 6, 12),
    "ViT-S-16": Shape(384, 224, 16, 384, 12, 64, 4.0, 384, 6, 12),
    "ViT-B-32": Shape(512, 224, 32, 768, 12, 64, 4.0, 512, 8, 12),
    "ViT-B-32-256": Shape(512, 256, 32, 768, 12, 64, 4.0, 512, 8, 12),
    "ViT-B-16": Shape(512, 224, 16, 768, 12, 64, 4.0, 512, 8, 12),
    "ViT-B-16-plus-240": Shape(640, 240, 16, 896, 12, 64, 4.0, 640, 10, 12),
    "ViT-L-16": Shape(768, 224, 16, 1024, 24, 64, 4.0, 768, 12, 12),
    "ViT-L-14": Shape(768, 224, 14, 1024, 24, 64, 4.0, 768, 12, 12),
    "ViT-L-14-280": Shape(768, 280, 14, 1024, 24, 64, 4.0, 768, 12, 12),
    "ViT-L-14-336": Shape(768, 336, 14, 1024, 24, 64, 4.0, 768, 12, 12),
    "ViT-H-14": Shape(1024, 224, 14, 1280, 32, 80, 4.0, 1024, 16, 24),
    "ViT-H-14-378": Shape(1024, 378, 14, 1280, 32, 80, 4.0, 1024, 16, 24),
    "ViT-g-14": Shape(1024, 224, 14, 1408, 40, 88, 4.3637, 1024, 16, 24),
    "ViT-bigG-14": Shape(1280, 224, 14, 1664, 48, 104, 4.9231, 1280, 20, 32),
}
"""Each name also exists with the ending ``-quickgelu``."""


def model_config(name: str) -> dict[str, Any]:
    """The configuration of a Vision Transformer as OpenCLIP writes it (``model_cfg``). Raises ``InputError`` for other names."""
    shape = SHAPES.get(name.removesuffix(QUICK_GELU))
    if shape is None:
        names = [each + ending for each in SHAPES for ending in ("", QUICK_GELU)]
        raise InputError(ended(f"OpenCLIP's {name} is not supported{nearest(name, names)}"))
    vision = {
        "image_size": shape.side,
        "patch_size": shape.patch,
        "width": shape.width,
        "layers": shape.layers,
        "head_width": shape.head_width,
        "mlp_ratio": shape.mlp_ratio,
    }
    text = {"width": shape.text_width, "heads": shape.text_heads, "layers": shape.text_layers}
    return {"embed_dim": shape.features, "quick_gelu": name.endswith(QUICK_GELU), "vision_cfg": vision, "text_cfg": text}


def split_reference(reference: str) -> tuple[str, str]:
    """Split ``FILE:ARCHITECTURE``, a checkpoint with the name of its configuration. Other references have no architecture."""
    file, _, name = reference.rpartition(":")
    return (file, name) if PurePath(file).suffix in CHECKPOINTS and "/" not in name else (reference, "")
