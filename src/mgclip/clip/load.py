"""Load a CLIP by hub id, local Hugging Face folder, OpenAI ``.pt`` file, or the name ``iconclip``."""

from __future__ import annotations

import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from mgclip.clip.backbone import Backbone, fingerprint
from mgclip.clip.check import check_config, check_whole
from mgclip.clip.parallel import own_device
from mgclip.clip.shortcut import read_class_token_only
from mgclip.clip.torchscript import check_archive
from mgclip.errors import InputError
from mgclip.untrusted import read_json

EMBEDDED = "iconclip"


def load_backbone(reference: str | Path, device: str | torch.device | None = None) -> Backbone:
    """Load, freeze and move a CLIP to ``device`` (a GPU where there is one), in float32.

    ``reference``: a hub id (``openai/clip-vit-base-patch16``), a folder in Hugging Face layout, an OpenAI ``.pt`` file, or
    ``iconclip``. Raises ``InputError`` where there is no such CLIP, or what is there is not a CLIP with a ViT.
    """
    name = str(reference)
    path = Path(str(files("mgclip") / "assets" / EMBEDDED)) if name == EMBEDDED else Path(name).expanduser()
    if path.suffix == ".pt" or path.is_file():
        from mgclip.clip.openai import load_openai

        model, tokenizer, processor = load_openai(path)
    elif path.is_dir():
        _check_folder(path)
        model, tokenizer, processor = _from_pretrained(str(path), name)
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        model, tokenizer, processor = _from_pretrained(name, name)
    else:
        raise InputError(
            f"There is no CLIP at {name}: give a hub id such as openai/clip-vit-base-patch16, a folder in Hugging Face "
            f"layout, an OpenAI .pt file, or {EMBEDDED}."
        )
    model = model.float().eval().requires_grad_(False)
    mark = fingerprint(model)
    read_class_token_only(model)
    model.to(device or own_device())
    return check_whole(Backbone(model, tokenizer, processor, name, mark))


def _check_folder(path: Path) -> None:
    """Say in one sentence what is wrong with a folder before any library meets it."""
    config_file = path / "config.json"
    if not config_file.is_file():
        raise InputError(f"{path} is not a CLIP in Hugging Face layout: it has no config.json.")
    try:
        config = read_json(config_file)
    except (ValueError, OSError) as error:
        raise InputError(f"{config_file} cannot be read ({error}): restore it from a copy of the model.") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "clip":
        raise InputError(f"{path} holds a model of type {kind}; a CLIP is needed (model_type clip in its config.json).")
    if not _weight_files(path):
        raise InputError(f"{path} has no weights: expected model.safetensors beside its config.json.")
    for file in path.glob("pytorch_model*.bin"):
        try:
            check_archive(file)
        except (ValueError, OSError) as error:
            raise InputError(f"{file} cannot be read ({error}): restore it from a copy.") from None
    for need, what in (("tokenizer", "tokenizer.json"), ("preprocessor", "preprocessor_config.json")):
        found = (
            [path / what, path / "vocab.json"] if need == "tokenizer" else [path / what, path / "processor_config.json"]
        )
        if not any(file.is_file() for file in found):
            raise InputError(f"{path} has no {need}: expected {what} beside its config.json.")


def _weight_files(folder: Path) -> list[Path]:
    return [file for kind in ("*.safetensors", "pytorch_model*.bin") for file in folder.glob(kind) if file.is_file()]


def _from_pretrained(source: str, name: str) -> tuple[Any, Any, Any]:
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer
    from transformers.utils import logging

    folder = Path(source)
    stored = sum(file.stat().st_size for file in _weight_files(folder)) if folder.is_dir() else None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = CLIPConfig.from_pretrained(source)
            if config.model_type != "clip" or not hasattr(config.vision_config, "patch_size"):
                raise InputError(f"{name} is not a CLIP with a Vision Transformer.")
            check_config(config.to_dict(), f"The config.json of {name}", stored)
            model, info = CLIPModel.from_pretrained(
                source, config=config, attn_implementation="sdpa", dtype=torch.float32, output_loading_info=True
            )
            tokenizer = CLIPTokenizer.from_pretrained(source)
            processor = CLIPImageProcessorPil.from_pretrained(source)
    except InputError:
        raise
    except (
        Exception
    ) as error:  # the libraries raise a dozen kinds, from OSError to pickle errors: all mean "cannot load"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = "check the name and the network" if not folder.is_dir() else "restore the folder from a copy"
        raise InputError(f"The CLIP {name} cannot be loaded ({reason}): {hint}.") from error
    missing = sorted(key for key in info["missing_keys"] if "position_ids" not in key)
    if missing or info["mismatched_keys"]:
        first = missing[0] if missing else sorted(map(str, info["mismatched_keys"]))[0]
        raise InputError(f"The weights of {name} do not fit its config.json: {first} is missing or of another shape.")
    return model, tokenizer, processor
