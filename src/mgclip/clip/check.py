"""Validate a loaded CLIP: plausible sizes, a matching transform, and one trial pass of both towers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgclip.clip.backbone import Backbone
from mgclip.clip.compute import out_of_memory
from mgclip.clip.family import FAMILIES
from mgclip.errors import InputError, first_line
from mgclip.validation import problems

Size = Annotated[int, Field(ge=1, le=1 << 20)]
Width = Annotated[int, Field(ge=1, le=1 << 15)]
Layers = Annotated[int, Field(ge=1, le=1000)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Three = Annotated[list[Number], Field(min_length=3, max_length=3)]

MAX_TOKENS = 1 << 14
"""With more tokens per image, attention takes minutes and gigabytes."""
MAX_PARAMETERS = 5_000_000_000
"""Twice the number of the largest published CLIP."""


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


class _Projected(_Config):
    projection_dim: Width


class _Transform(BaseModel):
    image_mean: Three
    image_std: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=3, max_length=3)]
    size: dict[str, Annotated[int, Field(ge=1, le=1 << 13)] | None]
    crop_size: dict[str, Annotated[int, Field(ge=1, le=1 << 13)] | None]


def check_config(config: Mapping[str, Any], source: str, stored: int) -> None:
    """Check that the sizes in a configuration are plausible, before memory is allocated for them. ``source`` is what errors
    call the configuration, ``stored`` the bytes of its weights on disk. Raises ``InputError`` if it is not a valid CLIP
    configuration.
    """
    try:
        sizes = (_Projected if FAMILIES[config["model_type"]].projected else _Config).model_validate(config)
        vision, text = sizes.vision_config, sizes.text_config
        if (tokens := (vision.image_size // vision.patch_size) ** 2) > MAX_TOKENS:
            raise ValueError(f"it implies {tokens:,} tokens per image, more than the limit of {MAX_TOKENS:,}")
        parameters = _layer_parameters(vision) + _layer_parameters(text) + _embedding_parameters(vision, text)
        if parameters > MAX_PARAMETERS:
            raise ValueError(f"it implies {parameters:,} parameters, more than the limit of {MAX_PARAMETERS:,}")
        if parameters > stored:
            raise ValueError(f"it implies {parameters:,} parameters, but its weights have only {stored:,} bytes")
    except ValueError as error:
        reason = problems(error)[0] if isinstance(error, ValidationError) else error
        raise InputError(f"{source} is not a valid CLIP configuration ({reason}): restore the model from a backup.") from None


def _layer_parameters(tower: _Tower) -> int:
    """The parameters of a tower's layers, without biases and norms."""
    return tower.num_hidden_layers * tower.hidden_size * (4 * tower.hidden_size + 2 * tower.intermediate_size)


def _embedding_parameters(vision: _Vision, text: _Text) -> int:
    patches = vision.num_channels * vision.patch_size**2 + (vision.image_size // vision.patch_size) ** 2
    return vision.hidden_size * patches + text.hidden_size * (text.vocab_size + text.max_position_embeddings)


def check_usable(backbone: Backbone) -> Backbone:
    """Return the backbone after a trial pass of one image and one text. Raises ``InputError`` if the pass fails."""
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
                raise ValueError(f"the transform gives {tuple(pixels.shape[1:])}, but the image tower expects {side} x {side}")
            image = backbone.image_features(pixels[:1])
            tokens = backbone.tokenize(["a photo"])
            if backbone.tokenizer.eos_token_id not in tokens:
                raise ValueError("its tokenizer does not mark the end of a text")
            text = backbone.text_features(tokens)
        if image.shape != text.shape or not bool(torch.isfinite(image).all() and torch.isfinite(text).all()):
            raise ValueError("its features contain NaN, or image and text features differ in length")
    except ValidationError as error:
        raise InputError(f"The CLIP {name} cannot be used ({problems(error)[0]}): restore it from a backup.") from None
    except Exception as error:  # the libraries raise many types if parts do not fit
        if out_of_memory(error) or any(word in str(error).upper() for word in ("CUDA", "CUDNN", "CUBLAS", "HIP ERROR")):
            raise  # the machine's fault, not the model's
        raise InputError(f"The CLIP {name} cannot be used ({first_line(error)}): restore it from a backup.") from error
    return backbone
