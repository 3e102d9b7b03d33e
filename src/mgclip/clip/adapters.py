"""The LoRA adapters: small trained matrices on the key and value projections of both towers (docs/method.md 2)."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mgclip.clip.backbone import Backbone
from mgclip.errors import InputError

PROJECTIONS = {"k": "k_proj", "v": "v_proj", "q": "q_proj", "o": "out_proj"}
TOWERS = {"vision": "vision_model", "text": "text_model"}


def attach_adapters(backbone: Backbone, *, rank: int, alpha: float, seed: int, projections: str = "kv") -> None:
    """Put fresh adapters into the backbone: A Xavier-uniform from ``seed``, B zero, scale ``alpha / rank``, no dropout.

    ``projections``: letters of k, v, q and o, the attention projections to adapt.

    With B zero the encoded features are those of the bare CLIP. The adapters are the only trainable weights; those a backbone
    had before are taken off.
    """
    from peft import LoraConfig, get_peft_model

    if backbone.peft_model is not None:
        backbone.model = backbone.peft_model.unload()
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules=[PROJECTIONS[p] for p in projections]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the two libraries tell each other about names to come
        backbone.peft_model = get_peft_model(backbone.model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in adapter_weights(backbone):
            fresh = torch.zeros(weight.shape)
            if name.endswith(".A"):
                torch.nn.init.xavier_uniform_(fresh, generator=generator)
            weight.copy_(fresh)
    backbone.model_number += 1
    backbone.weights_changed()


def adapter_weights(backbone: Backbone) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Name and weight of every adapter matrix, named ``tower.layer.k|v|q|o.A|B``: ``(rank, in)`` for A, ``(out, rank)`` for B."""
    for tower, module in TOWERS.items():
        for number, layer in enumerate(getattr(backbone.model, module).encoder.layers):
            for short, projection in PROJECTIONS.items():
                lora: Any = getattr(layer.self_attn, projection)
                if not hasattr(lora, "lora_A"):
                    continue
                yield f"{tower}.{number}.{short}.A", lora.lora_A["default"].weight
                yield f"{tower}.{number}.{short}.B", lora.lora_B["default"].weight


def adapter_state(backbone: Backbone) -> dict[str, Tensor]:
    """A copy of every adapter matrix, by name."""
    return {name: weight.detach().clone() for name, weight in adapter_weights(backbone)}


def set_adapter_state(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Overwrite every adapter matrix.

    Raises ``InputError`` where a matrix is missing, unknown or of another shape; then nothing is overwritten.
    """
    weights = dict(adapter_weights(backbone))
    if missing := sorted(weights.keys() - state.keys()):
        raise InputError(f"The adapter lacks {missing[0]} ({len(missing)} of {len(weights)} matrices are missing).")
    if unknown := sorted(state.keys() - weights.keys()):
        raise InputError(f"The adapter has {unknown[0]}, which this CLIP has no place for.")
    for name, weight in weights.items():
        if state[name].shape != weight.shape:
            expected, found = tuple(weight.shape), tuple(state[name].shape)
            raise InputError(f"The adapter's {name} must have shape {expected} for this CLIP; found {found}.")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(state[name])
    backbone.weights_changed()


@contextlib.contextmanager
def without_adapters(backbone: Backbone) -> Iterator[None]:
    """Switch the adapters off, so that the backbone is the CLIP as it was loaded, within a ``with`` block."""
    try:
        with backbone.peft_model.disable_adapter():
            backbone.weights_changed()
            yield
    finally:
        backbone.weights_changed()


def read_adapter_file(file: Path) -> dict[str, Tensor]:
    """Read adapter matrices from safetensors: named ``tower.layer.k|v.A|B``, or as peft names them."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(file)
    except FileNotFoundError:
        raise InputError(f"There is no adapter file {file}.") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"The adapter file {file} cannot be read ({error}): restore it from a copy.") from None
    if not all(weight.is_floating_point() and bool(weight.isfinite().all()) for weight in state.values()):
        raise InputError(f"The adapter file {file} holds what is no number: restore it from a copy.")
    return {_short_name(name): weight for name, weight in state.items()}


def _short_name(name: str) -> str:
    """``base_model.model.vision_model.encoder.layers.0.self_attn.k_proj.lora_A.weight`` -> ``vision.0.k.A``."""
    parts = name.removeprefix("base_model.model.").split(".")
    if len(parts) != 8 or parts[-1] != "weight":
        return name
    tower, layer, projection, matrix = parts[0].removesuffix("_model"), parts[3], parts[5][0], parts[6][-1]
    return f"{tower}.{layer}.{projection}.{matrix}"
