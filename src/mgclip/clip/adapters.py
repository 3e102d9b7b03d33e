"""The LoRA adapters: small trained matrices on the key and value projections of both towers (docs/method.md 2)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mgclip.clip.backbone import Backbone
from mgclip.clip.identity import base_name
from mgclip.errors import InputError, first_line
from mgclip.system_errors import check_opens, is_system_error
from mgclip.while_inside import NO_WARNINGS, WhileInside
from mgclip.words import are

PROJECTIONS = {"k": "k_proj", "v": "v_proj", "q": "q_proj", "o": "out_proj"}
"""Letters of the settings -> the projections of an attention layer."""
TOWERS = {"vision": "vision_model", "text": "text_model"}


def attach_adapters(backbone: Backbone, *, rank: int, alpha: float, seed: int, projections: str = "kv") -> None:
    """Attach new adapters to the backbone: A Xavier-uniform, B zero, no dropout. Adapters that it had before are removed.

    B is zero, so the features are those of the pre-trained CLIP. The adapters are the only trainable weights.

    Args:
        backbone: The CLIP to adapt, in place.
        rank: Rank of the matrices.
        alpha: The adapters are scaled by ``alpha / rank``.
        seed: Seed of A.
        projections: The attention projections to adapt, as letters of k, v, q and o.
    """
    from peft import LoraConfig

    if backbone.peft_model is not None:
        backbone.model = backbone.peft_model.unload()
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules=adapted_modules(projections))
    backbone.peft_model = peft_model(backbone.model, config)
    backbone.skips_adapters = WhileInside(backbone.peft_model.disable_adapter)
    config.base_model_name_or_path = base_name(backbone)  # peft would write the path on this machine
    initialise_adapters(backbone, seed)
    backbone.model_number += 1


def peft_model(model: Any, config: Any) -> Any:
    """Put the adapters of a configuration into a model. Returns peft's wrapper of it."""
    from peft import get_peft_model

    # peft draws weights that are then replaced, and warns of what transformers deprecates.
    with torch.random.fork_rng(devices=[]), NO_WARNINGS:
        adapted = get_peft_model(model, config)
    adapted.create_or_update_model_card = _no_card  # peft saves one with the adapters, which takes longer than they do
    return adapted


def _no_card(folder: str) -> None:
    """Take the place of peft's function that writes a model card."""


def initialise_adapters(backbone: Backbone, seed: int) -> None:
    """Give the adapters their initial values: A is drawn from the seed and B is zero, so they have no effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in adapter_weights(backbone):
            fresh = torch.zeros(weight.shape)
            if name.endswith(".A"):
                torch.nn.init.xavier_uniform_(fresh, generator=generator)
            weight.copy_(fresh)
    backbone.weights_changed()


def adapted_modules(projections: str) -> str:
    """The pattern of the names of the projections to adapt: those of the layers of both towers. SigLIP's pooling head also has
    an ``out_proj``, which is not adapted.
    """
    towers, names = "|".join(TOWERS.values()), "|".join(PROJECTIONS[letter] for letter in projections)
    return rf"({towers})\.encoder\.layers\.\d+\.self_attn\.({names})"


def adapter_weights(backbone: Backbone) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Yield name and weight of every adapter matrix: ``tower.layer.k|v|q|o.A|B``, ``(rank, in)`` for A, ``(out, rank)`` for B."""
    for tower, module in TOWERS.items():
        for number, layer in enumerate(getattr(backbone.model, module).encoder.layers):
            for short, projection in PROJECTIONS.items():
                lora: Any = getattr(layer.self_attn, projection)
                if not hasattr(lora, "lora_A"):
                    continue
                yield f"{tower}.{number}.{short}.A", lora.lora_A["default"].weight
                yield f"{tower}.{number}.{short}.B", lora.lora_B["default"].weight


def adapter_state(backbone: Backbone) -> dict[str, Tensor]:
    """Return a copy of every adapter matrix, by name."""
    return {name: weight.detach().clone() for name, weight in adapter_weights(backbone)}


def set_adapter_state(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Replace every adapter matrix.

    Raises:
        InputError: If a matrix is missing, unknown or has the wrong shape. Then nothing is replaced.
    """
    weights = dict(adapter_weights(backbone))
    if missing := sorted(weights.keys() - state.keys()):
        raise InputError(
            f"The adapter lacks {missing[0]} ({len(missing)} of {len(weights)} matrices {are(len(missing))} missing): use an "
            "adapter of this CLIP."
        )
    if unknown := sorted(state.keys() - weights.keys()):
        raise InputError(f"The adapter has {unknown[0]}, which does not exist in this CLIP: use an adapter of this CLIP.")
    for name, weight in weights.items():
        if state[name].shape != weight.shape:
            expected, found = tuple(weight.shape), tuple(state[name].shape)
            raise InputError(
                f"The adapter's {name} must have shape {expected} for this CLIP; found {found}: use an adapter of this CLIP."
            )
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(state[name])
    backbone.weights_changed()


def adapters_have_effect(backbone: Backbone) -> bool:
    """Whether the adapters change any feature: they do not if they are disabled, or before they are trained, because each B is
    zero.
    """
    if not backbone.adapters_enabled:
        return False
    return any(bool(weight.any()) for name, weight in adapter_weights(backbone) if name.endswith(".B"))


def adapters_agree(one: Backbone, other: Backbone) -> bool:
    """Whether the adapters of two copies of a CLIP are the same, or none of them has an effect."""
    first, second = (dict(adapter_weights(each)) for each in (one, other))
    same = first.keys() == second.keys() and all(torch.equal(first[name].cpu(), second[name].cpu()) for name in first)
    return same or not (adapters_have_effect(one) or adapters_have_effect(other))


@contextlib.contextmanager
def without_adapters(backbone: Backbone) -> Iterator[None]:
    """Disable the adapters in a ``with`` block, so that the backbone computes the features of the pre-trained CLIP."""
    enabled, backbone.adapters_enabled = backbone.adapters_enabled, False
    try:
        with backbone.peft_model.disable_adapter():
            backbone.weights_changed()
            yield
    finally:
        backbone.adapters_enabled = enabled
        backbone.weights_changed()


@contextlib.contextmanager
def idle_adapters_skipped(backbone: Backbone) -> Iterator[None]:
    """Skip adapters that have no effect in a ``with`` block: multiplying by them takes time and changes no feature."""
    if backbone.skips_adapters is None or not backbone.adapters_enabled or adapters_have_effect(backbone):
        yield
    else:
        with backbone.skips_adapters:
            yield


def read_adapter_file(file: Path) -> dict[str, Tensor]:
    """Read adapter matrices from a safetensors file, which names them as ``adapter_weights`` or as peft does.

    Raises:
        InputError: If the file does not exist, cannot be read, or contains a value that is not a finite floating-point number.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_opens(file)
        state = load_file(file)
    except FileNotFoundError:
        raise InputError(f"There is no adapter file {file}.") from None
    except (OSError, SafetensorError) as error:
        if is_system_error(error):
            raise
        raise InputError(f"The adapter file {file} cannot be read ({first_line(error)}): restore it from a backup.") from None
    if not all(weight.is_floating_point() and bool(weight.isfinite().all()) for weight in state.values()):
        raise InputError(
            f"The adapter file {file} contains values that are not finite floating-point numbers: restore it from a backup."
        )
    return {_short_name(name): weight for name, weight in state.items()}


def _short_name(name: str) -> str:
    """``base_model.model.vision_model.encoder.layers.0.self_attn.k_proj.lora_A.weight`` -> ``vision.0.k.A``."""
    parts = name.removeprefix("base_model.model.").split(".")
    if len(parts) != 8 or parts[-1] != "weight":
        return name
    tower, layer, projection, matrix = parts[0].removesuffix("_model"), parts[3], parts[5][0], parts[6][-1]
    return f"{tower}.{layer}.{projection}.{matrix}"
