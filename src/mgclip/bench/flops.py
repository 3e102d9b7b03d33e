"""Floating-point operations of the two towers, as PyTorch counts them (docs/performance.md).

The CLIP is built on the meta device: its tensors have shapes but no values, so counting takes neither memory nor time. One
multiply-add is two operations.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mgclip.clip.adapters import adapted_modules, peft_model
from mgclip.clip.last_layer import compute_class_token_only_in_last_layer
from mgclip.method.settings import Settings


def image_flops(config: Any, *, training: bool) -> int:
    """Operations of the image tower for one image; ``training``: with the backward pass to the adapters. ``config`` is that of
    a CLIP of transformers.
    """
    return _count(config.to_json_string(use_diff=False), tokens=0, training=training)


def text_flops(config: Any, tokens: int, *, training: bool) -> int:
    """Operations of the text tower for one text of ``tokens`` tokens; see ``image_flops``."""
    return _count(config.to_json_string(use_diff=False), tokens=tokens, training=training)


@lru_cache
def _count(config_json: str, *, tokens: int, training: bool) -> int:
    """Count a pass of the text tower, or without tokens of the image tower. The key is JSON, because a config has no hash."""
    model = _adapted_clip(config_json)
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
        if tokens:
            pooled = model.text_model(input_ids=torch.zeros(1, tokens, dtype=torch.long)).pooler_output
        else:
            side = model.config.vision_config.image_size
            pooled = model.vision_model(pixel_values=torch.zeros(1, 3, side, side)).pooler_output
        if training:
            pooled.sum().backward()
    return int(counter.get_total_flops())


@lru_cache
def _adapted_clip(config_json: str) -> Any:
    """A CLIP on the meta device with the adapters of the default settings, which computes as the package does."""
    from peft import LoraConfig
    from transformers import AutoConfig, AutoModel

    settings = Settings()
    adapters = LoraConfig(r=settings.rank, target_modules=adapted_modules(settings.projections))
    with torch.device("meta"):
        config = AutoConfig.for_model(**json.loads(config_json))
        model: Any = AutoModel.from_config(config, attn_implementation="sdpa")
        model.requires_grad_(False)
        compute_class_token_only_in_last_layer(model)
        peft_model(model, adapters)  # replaces the projections inside the model
    return model
