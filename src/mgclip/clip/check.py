"""Whether what was loaded is a CLIP that can be used: sizes that can be, a transform that fits, and a trial of both towers."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgclip.clip.backbone import Backbone
from mgclip.clip.compute import out_of_memory
from mgclip.errors import InputError

Size = Annotated[int, Field(ge=1, le=1 << 20)]
Width = Annotated[int, Field(ge=1, le=1 << 15)]
Layers = Annotated[int, Field(ge=1, le=1000)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Three = Annotated[list[Number], Field(min_length=3, max_length=3)]

MOST_TOKENS = 1 << 14
"""An image of more is refused: their attention would take minutes and gigabytes."""
MOST_WEIGHTS = 5_000_000_000
"""Twice those of the largest CLIP there is."""


class _Tower(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    hidden_size: Width
    intermediate_size: Annotated[int, Field(ge=1, le=1 << 17)]
    num_hidden_layers: Layers
    num_attention_heads: Width


class _Vision(_Tower):
    image_size: Annotated[int, Field(ge=1, le=1 << 13)]
    num_channels: Annotated[int, Field(ge=1, le=4)]
    patch_size: Annotated[int, Field(ge=1, le=1 << 10)]


class _Text(_Tower):
    vocab_size: Annotated[int, Field(ge=1, le=1 << 23)]
    max_position_embeddings: Size


class _Config(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    vision_config: _Vision
    text_config: _Text
    projection_dim: Width


class _Transform(BaseModel):
    image_mean: Three
    image_std: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=3, max_length=3)]
    size: dict[str, Annotated[int, Field(ge=1, le=1 << 13)] | None]
    crop_size: dict[str, Annotated[int, Field(ge=1, le=1 << 13)] | None]


def check_config(config: Any, source: str, stored: int | None = None) -> None:
    """See that a configuration's sizes can be those of a CLIP, before anything so large is made.

    ``stored``: bytes of its weights on disk, where that is known. Raises ``InputError``, naming the configuration's ``source``.
    """
    try:
        sizes = _Config.model_validate(config)
        vision, text = sizes.vision_config, sizes.text_config
        if (tokens := (vision.image_size // vision.patch_size) ** 2) > MOST_TOKENS:
            raise ValueError(f"an image would be {tokens:,} tokens")
        weights = _weights(vision) + _weights(text) + _embeddings(vision, text)
        if weights > MOST_WEIGHTS:
            raise ValueError(f"it asks for {weights:,} weights")
        if stored is not None and weights > stored:
            raise ValueError(f"it asks for {weights:,} weights, and only {stored:,} bytes of them are there")
    except ValueError as error:
        reason = _first(error) if isinstance(error, ValidationError) else error
        raise InputError(f"{source} is no CLIP's ({reason}): restore the model from a copy.") from None


def _weights(tower: _Tower) -> int:
    """The weights of a tower's layers, but for biases and norms."""
    return tower.num_hidden_layers * tower.hidden_size * (4 * tower.hidden_size + 2 * tower.intermediate_size)


def _embeddings(vision: _Vision, text: _Text) -> int:
    patches = vision.num_channels * vision.patch_size**2 + (vision.image_size // vision.patch_size) ** 2
    return vision.hidden_size * patches + text.hidden_size * (text.vocab_size + text.max_position_embeddings)


def check_usable(backbone: Backbone) -> Backbone:
    """The same backbone, after one image and one text went through it. Raises ``InputError`` where that cannot be."""
    name, side, processor = backbone.reference, backbone.image_size, backbone.processor
    try:
        _Transform(
            image_mean=processor.image_mean,
            image_std=processor.image_std,
            size=dict(processor.size),
            crop_size=dict(processor.crop_size or {}),
        )
        with torch.no_grad():
            grey = Image.fromarray(np.full((side + 1, side, 3), 128, dtype=np.uint8))
            pixels = backbone.transform([grey, grey.rotate(90, expand=True)])
            if pixels.shape != (2, 3, side, side):
                raise ValueError(f"images come out as {tuple(pixels.shape[1:])}, and the tower reads {side} x {side}")
            image = backbone.image_features(pixels[:1])
            text = backbone.text_features(backbone.tokenize(["a photo"]))
        if image.shape != text.shape or not bool(torch.isfinite(image).all() and torch.isfinite(text).all()):
            raise ValueError("its features are no numbers, or images and texts have other lengths")
    except ValidationError as error:
        raise InputError(f"The CLIP {name} is not whole ({_first(error)}): restore it from a copy.") from None
    except Exception as error:  # whatever the libraries raise at parts that do not fit
        if out_of_memory(error) or any(word in str(error).upper() for word in ("CUDA", "CUDNN", "CUBLAS", "HIP ERROR")):
            raise  # the machine's fault, not the model's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"The CLIP {name} is not whole ({reason[:300]}): restore it from a copy.") from error
    return backbone


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'all of it'}: {problem['msg']}"
