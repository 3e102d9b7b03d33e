"""CLIPs of published shapes with random weights, to measure speed."""

from __future__ import annotations

from typing import Any

import torch

from mgclip.clip.backbone import Backbone
from mgclip.clip.last_layer import compute_class_token_only_in_last_layer
from mgclip.clip.load import load_backbone
from mgclip.clip.openai import openai_tokenizer
from mgclip.clip.parallel import local_device
from mgclip.method.prepare import prepare
from mgclip.method.settings import Settings

VIT = {
    # image width, layers, heads and patch; text width and heads; dimension of the features
    "vit-b-32": (768, 12, 12, 32, 512, 8, 512),
    "vit-b-16": (768, 12, 12, 16, 512, 8, 512),
    "vit-l-14": (1024, 24, 16, 14, 768, 12, 768),
}
SIGLIP = {
    # width of both towers, layers, heads and patch
    "siglip-b-16": (768, 12, 12, 16),
}
SHAPES = (*VIT, *SIGLIP, "iconclip")
"""The shapes that can be measured. MetaCLIP 2 has those of CLIP, with a larger vocabulary."""


def make_backbone(shape: str, *, shortcut: bool = True) -> Backbone:
    """Build a backbone of a shape of ``SHAPES``; ``shortcut``: the last layer of the image tower computes the class token only,
    as the package does.
    """
    if shape == "iconclip":
        backbone = load_backbone("iconclip")
        if not shortcut:
            del backbone.model.vision_model.encoder.layers[-1].forward  # restores the method of its class
        return backbone
    from transformers import AutoModel, CLIPImageProcessorPil, SiglipImageProcessorPil

    torch.manual_seed(0)
    with local_device():  # a GPU draws the weights faster
        model: Any = AutoModel.from_config(make_config(shape), attn_implementation="sdpa")
    model.float().eval().requires_grad_(False)
    if shortcut:
        compute_class_token_only_in_last_layer(model)
    processor = SiglipImageProcessorPil() if shape in SIGLIP else CLIPImageProcessorPil()
    return Backbone(model, openai_tokenizer(), processor, shape, "random weights")


def make_both(shape: str) -> tuple[Backbone, Backbone]:
    """The CLIP of a shape as this package computes it and as the naive implementation does, both with new adapters."""
    both = make_backbone(shape), make_backbone(shape, shortcut=False)
    for each in both:
        prepare(each, Settings())
    return both


def make_config(shape: str) -> Any:
    """The configuration of a shape."""
    from transformers import CLIPConfig, SiglipConfig

    if shape == "iconclip":
        return load_backbone("iconclip").model.config
    if shape in SIGLIP:
        width, layers, heads, patch = SIGLIP[shape]
        sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, "num_attention_heads": heads}
        words = {"vocab_size": len(openai_tokenizer()), "max_position_embeddings": 64}
        return SiglipConfig(vision_config={**sizes, "patch_size": patch, "image_size": 224}, text_config={**sizes, **words})
    width, layers, heads, patch, text_width, text_heads, feature_dim = VIT[shape]
    tokenizer = openai_tokenizer()

    def tower(width: int, layers: int, heads: int) -> dict[str, Any]:
        size = {"hidden_size": width, "intermediate_size": 4 * width}
        depth = {"num_hidden_layers": layers, "num_attention_heads": heads}
        return {**size, **depth, "projection_dim": feature_dim, "hidden_act": "quick_gelu"}

    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    vision = {**tower(width, layers, heads), "patch_size": patch, "image_size": 224}
    text = {**tower(text_width, 12, text_heads), "vocab_size": len(tokenizer), "max_position_embeddings": 77, **ids}
    return CLIPConfig(vision_config=vision, text_config=text, projection_dim=feature_dim)
