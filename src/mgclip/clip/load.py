"""Load a CLIP by hub id, local folder, checkpoint file, or the name ``iconclip``."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from mgclip.clip.ambient import in_ordinary_modes
from mgclip.clip.backbone import Backbone
from mgclip.clip.check import check_config, check_usable
from mgclip.clip.compute import out_of_memory
from mgclip.clip.family import FAMILIES, load_processor, load_tokenizer, model_class
from mgclip.clip.hub import ADVICE, OPEN_CLIP, cached_folder, download, is_openclip
from mgclip.clip.identity import fingerprint
from mgclip.clip.last_layer import compute_class_token_only_in_last_layer
from mgclip.clip.openclip_models import split_reference
from mgclip.clip.parallel import local_device
from mgclip.clip.torchscript import check_archive
from mgclip.errors import InputError, first_line
from mgclip.home import in_home
from mgclip.system_errors import is_system_error
from mgclip.untrusted import read_json
from mgclip.while_inside import NO_WARNINGS, QUIET_TRANSFORMERS

EMBEDDED = "iconclip"
ALIGNMENT = 64
"""Bytes of a cache line and of the widest registers of a processor; PyTorch places new tensors at multiples of it."""


@in_ordinary_modes
@torch.random.fork_rng(devices=[])  # the libraries draw weights that are then replaced
def load_backbone(reference: str | Path, device: str | torch.device | None = None) -> Backbone:
    """Load a CLIP in float32 and freeze it.

    Args:
        reference: A hub id (``openai/clip-vit-base-patch16``), a folder in the layout of Hugging Face or OpenCLIP, an OpenAI
            ``.pt`` file, a checkpoint of OpenCLIP with the name of its configuration (``epoch_32.pt:ViT-B-16``), or
            ``iconclip``. A CLIP in the hub's cache on this machine is loaded without contacting the hub.
        device: Where to load it; a GPU by default, if there is one.

    Raises:
        InputError: If there is no such CLIP, or if it is not a CLIP with a ViT whose activation and heads are known.
    """
    name = str(reference)
    path = Path(str(files("mgclip") / "assets" / EMBEDDED)) if name == EMBEDDED else Path(in_home(name))
    file, architecture = split_reference(name)
    if architecture:
        from mgclip.clip.openclip import load_openclip_checkpoint

        model, tokenizer, processor = load_openclip_checkpoint(Path(in_home(file)), architecture)
    elif path.suffix == ".pt" or path.is_file():
        from mgclip.clip.openai import load_openai

        model, tokenizer, processor = load_openai(path)
    elif path.is_dir():
        _check_folder(path, str(path))
        model, tokenizer, processor = _from_folder(path, name)
    elif is_hub_id(name):
        model, tokenizer, processor = _from_folder(hub_folder(name), name)
    else:
        raise InputError(
            f"There is no CLIP at {name}: give a hub id such as openai/clip-vit-base-patch16, a folder in the layout of Hugging "
            f"Face or OpenCLIP, an OpenAI .pt file, a checkpoint such as epoch_32.pt:ViT-B-16, or {EMBEDDED}."
        )
    model = model.float().eval().requires_grad_(False)
    digest = fingerprint(model)
    compute_class_token_only_in_last_layer(model)
    model.to(device or local_device())
    _align(model)
    return check_usable(Backbone(model, tokenizer, processor, name, digest))


def _align(model: Any) -> None:
    """Copy the weights that do not start at a multiple of ``ALIGNMENT`` bytes. A file decides where they start, and on some
    processors this decides how products are rounded: the same weights in another file would give other digits.
    """
    for weight in model.parameters():
        if weight.device.type == "cpu" and weight.data_ptr() % ALIGNMENT:
            weight.data = weight.data.clone()


def load_base(folder: Path, base: str | Path, reference: str, device: str | torch.device | None) -> Backbone:
    """Load the CLIP that a saved model was trained on, from its current path ``base`` or, if that is empty, from the
    ``reference`` stored with the model. A checkpoint that has moved keeps the name of its configuration. Raises ``InputError``
    if it cannot be loaded, or if ``base`` names another configuration, with which the same weights would give other features.
    """
    kept, given = split_reference(reference)[1], split_reference(str(base))[1]
    if kept and given and kept != given:
        raise InputError(f"{folder} was trained on a checkpoint with the configuration {kept}: leave {given} out.")
    if kept and not given and Path(in_home(base)).is_file():
        base = f"{base}:{kept}"
    try:
        return load_backbone(base or reference, device)
    except InputError as error:
        if base:
            raise
        reason = str(error).rstrip(".").removesuffix(f", {ADVICE}")  # another CLIP cannot replace it
        raise InputError(
            f"The CLIP that {folder} was trained on cannot be loaded: {reason}; if it has moved, give "
            "its current path with --base (base= in Python)."
        ) from error


def _from_folder(folder: Path, name: str) -> tuple[Any, Any, Any]:
    if not _is_openclip(folder):
        return _from_pretrained(folder, name)
    from mgclip.clip.openclip import load_openclip_folder

    return load_openclip_folder(folder, name)


def _is_openclip(folder: Path) -> bool:
    return is_openclip({file.name for file in folder.iterdir()})


def is_hub_id(name: str) -> bool:
    """Whether a reference can be the name of a repository."""
    return name.count("/") == 1 and ":" not in name and not name.startswith((".", "/", "~"))


def hub_folder(name: str) -> Path:
    """Return the folder of a CLIP of the hub: from the cache if it is complete there, or downloaded now. Raises ``InputError``
    if it is not a supported CLIP, or cannot be downloaded.
    """
    stored = cached_folder(name)
    if stored is not None:
        _check_config(stored, name)
        try:
            _check_folder(stored, name)
            return stored
        except InputError:  # the cache is incomplete
            pass
    folder = download(name, lambda folder: _check_config(folder, name))
    _check_folder(folder, name)
    return folder


def _check_folder(path: Path, name: str) -> None:
    """Check the files of a folder before a library reads them, so that errors are one sentence."""
    kind = _check_config(path, name)
    if _is_openclip(path):
        from mgclip.clip.openclip import openclip_weights

        openclip_weights(path, name)
        return
    if not _weight_files(path):
        raise InputError(f"{name} has no weights: expected model.safetensors next to its config.json.")
    for file in path.glob("model*.safetensors.index.json"):
        if missing := sorted({part for part in _shards(file) if not (path / part).is_file()}):
            raise InputError(f"{name} has no {missing[0]}, which its {file.name} lists: restore it from a backup.")
    for file in path.glob("pytorch_model*.bin"):
        try:
            check_archive(file)
        except (ValueError, OSError) as error:
            if is_system_error(error):
                raise
            raise InputError(f"{file} cannot be read ({first_line(error)}): restore it from a backup.") from None
    tokenizers = ("tokenizer.json", "vocab.json") if kind == "clip" else ("tokenizer.json",)
    for need, which in (("tokenizer", tokenizers), ("preprocessor", ("preprocessor_config.json", "processor_config.json"))):
        if not any((path / file).is_file() for file in which):
            raise InputError(f"{name} has no {need}: expected {which[0]} next to its config.json.")


def _shards(index: Path) -> list[str]:
    try:
        return [str(part) for part in dict(json.loads(index.read_bytes())["weight_map"]).values()]
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        if is_system_error(error):
            raise
        raise InputError(f"{index} cannot be read ({first_line(error)}): restore it from a backup.") from None


def _check_config(path: Path, name: str) -> str:
    """Check that a folder has the configuration of a CLIP, and that nothing in it has to be guessed. Returns its type, one of
    ``FAMILIES``.
    """
    if _is_openclip(path):
        from mgclip.clip.openclip import check_openclip_config

        check_openclip_config(path, name)
        return "clip"
    config_file = path / "config.json"
    open_clip = (path / OPEN_CLIP).is_file()
    if not config_file.is_file():
        raise InputError(f"{name} is not a CLIP: it has neither a config.json nor an {OPEN_CLIP}.")
    try:
        config = read_json(config_file)
    except (ValueError, OSError) as error:
        if is_system_error(error):
            raise
        raise InputError(f"{config_file} cannot be read ({first_line(error)}): restore it from a backup.") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind == "siglip2":
        raise InputError(
            f"{name} is a SigLIP 2 whose images have no fixed size (NaFlex): choose one with a fixed resolution, such as "
            "google/siglip2-base-patch16-224."
        )
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise InputError(f"{name} holds a model of type {kind}; a CLIP is needed (model_type in its config.json: {known}).")
    for tower in ("vision_config", "text_config") if open_clip else ():
        for key in ("hidden_act", "num_attention_heads"):
            if not isinstance(config.get(tower), dict) or key not in config[tower]:
                raise InputError(
                    f"{name} is an OpenCLIP model and its config.json has no {tower}.{key}: "
                    "add the value that the model was trained with."
                )
    return str(kind)


def _weight_files(folder: Path) -> list[Path]:
    return [file for kind in ("model*.safetensors", "pytorch_model*.bin") for file in folder.glob(kind) if file.is_file()]


def _from_pretrained(folder: Path, name: str) -> tuple[Any, Any, Any]:
    family = FAMILIES[_check_config(folder, name)]
    stored = sum(file.stat().st_size for file in _weight_files(folder))
    try:
        with QUIET_TRANSFORMERS, NO_WARNINGS:
            config = model_class(family).config_class.from_pretrained(folder)
            if not hasattr(config.vision_config, "patch_size"):
                raise InputError(f"{name} is not a CLIP with a Vision Transformer: choose another CLIP.")
            check_config(config.to_dict(), f"The config.json of {name}", stored)
            model, info = model_class(family).from_pretrained(
                folder, config=config, attn_implementation="sdpa", dtype=torch.float32, output_loading_info=True
            )
            tokenizer, processor = load_tokenizer(family, folder), load_processor(family, folder)
    except InputError:
        raise
    except Exception as error:  # the libraries raise a dozen types, from OSError to pickle errors
        if is_system_error(error) or out_of_memory(error):
            raise
        raise InputError(f"The CLIP {name} cannot be loaded ({first_line(error)}): restore the folder from a backup.") from error
    missing = sorted(key for key in info["missing_keys"] if "position_ids" not in key)
    if missing or info["mismatched_keys"]:
        first = missing[0] if missing else sorted(map(str, info["mismatched_keys"]))[0]
        raise InputError(
            f"The weights of {name} do not fit its config.json: {first} is missing or has a different shape: restore the folder "
            "from a backup."
        )
    return model, tokenizer, processor
