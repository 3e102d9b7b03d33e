"""Read CLIPs of OpenCLIP and convert them to transformers' layout.

The configuration states what the weights do not: the activation, the heads and the image transform. A folder or repository has it
in ``open_clip_config.json``; a training checkpoint has no configuration, so its name is given with the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgclip.clip.check import Size, Three, Width, check_config
from mgclip.clip.compute import out_of_memory
from mgclip.clip.hub import OPEN_CLIP, OPEN_CLIP_WEIGHTS
from mgclip.clip.openai import build_clip, convert, openai_tokenizer, read_state
from mgclip.clip.openclip_models import model_config
from mgclip.errors import InputError, first_line
from mgclip.system_errors import is_system_error
from mgclip.untrusted import read_json
from mgclip.validation import problems

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
IGNORED = {
    *("patch_dropout", "output_tokens", "output_dict", "cast_dtype"),  # for training, or for other outputs
    *("init_logit_scale", "nonscalar_logit_scale", "custom_text"),  # the weights decide
    *("attn_pooler_queries", "attn_pooler_heads", "timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias"),
    *("timm_drop", "timm_drop_path", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type"),  # parts of unsupported towers
    *("pad_id", "eos_id"),  # padding has no influence on a causal tower
}
DEFAULTS = {
    "pos_embed_type": "learnable",
    "vision_cfg.pool_type": "tok",
    "text_cfg.pool_type": "argmax",
    "proj_type": "linear",
    "block_type": "default",
}
"""Settings with a single supported value. All others must be unset, which is OpenCLIP's default."""
UNSUPPORTED = {"timm_model_name": "a timm image tower", "hf_model_name": "a text tower of Hugging Face"}


class _Vision(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    image_size: Annotated[int, Field(ge=1)] = 224
    patch_size: Annotated[int, Field(ge=1)] = 16
    width: Width = 768
    layers: Width = 12
    head_width: Width = 64
    mlp_ratio: Annotated[float, Field(gt=0, le=64, allow_inf_nan=False)] = 4.0


class _Text(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    context_length: Size = 77
    vocab_size: Literal[49408] = 49408  # CLIP's own tokenizer
    width: Width = 512
    heads: Width = 8
    layers: Width = 12
    mlp_ratio: Annotated[float, Field(gt=0, le=64, allow_inf_nan=False)] = 4.0


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    embed_dim: Width
    quick_gelu: bool = False
    vision_cfg: _Vision
    text_cfg: _Text


class _Preprocess(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    mean: Three = MEAN
    std: Three = STD
    interpolation: Literal["bicubic", "bilinear", "random"] = "bicubic"  # random is for training; bicubic is used otherwise
    resize_mode: Literal["shortest", "squash"] = "shortest"
    mode: Literal["RGB"] = "RGB"


def load_openclip_folder(folder: Path, name: str) -> tuple[Any, Any, Any]:
    """Return model, tokenizer and image processor of a folder of OpenCLIP, which errors call ``name``. Raises ``InputError`` if
    a file is missing or damaged, or if the configuration has a part that is not supported.
    """
    model, preprocess = check_openclip_config(folder, name)
    return _load(openclip_weights(folder, name), model, preprocess)


def openclip_weights(folder: Path, name: str) -> Path:
    """The weights in a folder of OpenCLIP. Raises ``InputError`` if there are none."""
    for file in OPEN_CLIP_WEIGHTS:
        if (folder / file).is_file():
            return folder / file
    raise InputError(f"{name} has no weights of OpenCLIP: expected {' or '.join(OPEN_CLIP_WEIGHTS)} next to its {OPEN_CLIP}.")


def load_openclip_checkpoint(file: Path, architecture: str) -> tuple[Any, Any, Any]:
    """Return model, tokenizer and image processor of a checkpoint, with the configuration that OpenCLIP has under a name. Raises
    ``InputError`` if there is no such file or name, or if they do not fit.
    """
    model = _parsed(model_config(architecture), {}, architecture)[0]
    return _load(file, model, _Preprocess())


def check_openclip_config(folder: Path, name: str) -> tuple[_Model, _Preprocess]:
    """Read and check the configuration in a folder of OpenCLIP. Raises ``InputError`` if it has a part that is not supported."""
    file = folder / OPEN_CLIP
    try:
        config = read_json(file)
    except (ValueError, OSError) as error:
        if is_system_error(error):
            raise
        raise InputError(f"{file} cannot be read ({first_line(error)}): restore it from a backup.") from None
    if not isinstance(config, dict) or not isinstance(model := config.get("model_cfg"), dict):
        raise InputError(f"The {OPEN_CLIP} of {name} has no model_cfg: restore it from a backup.")
    return _parsed(model, config.get("preprocess_cfg") or {}, f"The {OPEN_CLIP} of {name}")


def _parsed(config: dict[str, Any], preprocess: Any, source: str) -> tuple[_Model, _Preprocess]:
    towers = {part: found if isinstance(found := config.get(part), dict) else {} for part in ("vision_cfg", "text_cfg")}
    for settings in towers.values():
        for key, what in UNSUPPORTED.items():
            if value := settings.get(key):
                raise InputError(
                    f"{source} has {what} ({value}); only OpenCLIP's own Vision Transformer and text tower are supported: choose "
                    "another CLIP."
                )
    if isinstance(towers["vision_cfg"].get("layers"), list):
        raise InputError(
            f"{source} has a ResNet; only OpenCLIP's own Vision Transformer and text tower are supported: choose another CLIP."
        )
    if tokenizer := towers["text_cfg"].get("hf_tokenizer_name"):
        raise InputError(
            f"{source} has the tokenizer {tokenizer}; only CLIP's own tokenizer is supported for OpenCLIP: choose another CLIP."
        )
    try:
        model, transform = _Model.model_validate(config), _Preprocess.model_validate(preprocess)
    except ValidationError as error:
        raise InputError(f"{source} is not supported ({problems(error)[0]}): choose another CLIP.") from None
    if model.vision_cfg.width % model.vision_cfg.head_width or model.text_cfg.width % model.text_cfg.heads:
        raise InputError(f"{source} has heads that do not divide the width of their tower: restore it from a backup.")
    _require_defaults(model.model_extra or {}, "", source)
    _require_defaults(model.vision_cfg.model_extra or {}, "vision_cfg.", source)
    _require_defaults(model.text_cfg.model_extra or {}, "text_cfg.", source)
    return model, transform


def _require_defaults(settings: Mapping[str, Any], part: str, source: str) -> None:
    """Check that nothing changes how the towers compute, apart from what the conversion knows."""
    for key, value in settings.items():
        default = DEFAULTS.get(part + key, DEFAULTS.get(key))
        if value and key not in IGNORED and value != default:
            raise InputError(f"{source} has {part}{key} = {value!r}, which is not supported: choose another CLIP.")


def _load(file: Path, model: _Model, preprocess: _Preprocess) -> tuple[Any, Any, Any]:
    state = {name.removeprefix("text."): value for name, value in read_state(file, "OpenCLIP").items()}
    if "logit_bias" in state:
        raise InputError(
            f"{file} was trained with a sigmoid loss (it has a logit_bias), which is not supported for OpenCLIP: choose another "
            "CLIP."
        )
    tokenizer = openai_tokenizer(length=model.text_cfg.context_length)
    config = _clip_config(model, tokenizer)
    check_config(config.to_dict(), f"The configuration of {file}", file.stat().st_size)
    try:
        converted = convert(state)
    except (ValueError, IndexError, AttributeError, KeyError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise InputError(f"{file} is not a CLIP in OpenCLIP's layout: its tensors have unexpected shapes.") from None
    return build_clip(config, converted, f"{file} does not fit its configuration"), tokenizer, _processor(model, preprocess)


def _clip_config(model: _Model, tokenizer: Any) -> Any:
    from transformers import CLIPConfig

    vision, text = model.vision_cfg, model.text_cfg
    both = {"projection_dim": model.embed_dim, "hidden_act": "quick_gelu" if model.quick_gelu else "gelu"}

    def tower(width: int, layers: int, heads: int, ratio: float) -> dict[str, Any]:
        size = {"hidden_size": width, "intermediate_size": int(width * ratio)}
        return {**both, **size, "num_hidden_layers": layers, "num_attention_heads": heads}

    images = {
        **tower(vision.width, vision.layers, max(1, vision.width // vision.head_width), vision.mlp_ratio),
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
    }
    texts = {
        **tower(text.width, text.layers, text.heads, text.mlp_ratio),
        "vocab_size": text.vocab_size,
        "max_position_embeddings": text.context_length,
        **{name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
    }
    return CLIPConfig(vision_config=images, text_config=texts, projection_dim=model.embed_dim)


def _processor(model: _Model, preprocess: _Preprocess) -> Any:
    from PIL import Image
    from transformers import CLIPImageProcessorPil

    side = model.vision_cfg.image_size
    square, squash = {"height": side, "width": side}, preprocess.resize_mode == "squash"
    bilinear = preprocess.interpolation == "bilinear"
    return CLIPImageProcessorPil(
        size=square if squash else {"shortest_edge": side},
        crop_size=square,
        do_center_crop=not squash,
        resample=Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC,
        image_mean=preprocess.mean,
        image_std=preprocess.std,
    )
