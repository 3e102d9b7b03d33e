"""A trained model as an ordinary CLIP in Hugging Face layout: the adapters are merged into the projections they adapt."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from mgclip._version import __version__
from mgclip.clip.backbone import Backbone
from mgclip.clip.family import family_of, model_class
from mgclip.clip.identity import base_name
from mgclip.errors import InputError
from mgclip.export.deviation import in_float32
from mgclip.export.new_folder import atomic_folder
from mgclip.method.analytic.calibration import by_share
from mgclip.method.learner import MGCLIP
from mgclip.while_inside import QUIET_TRANSFORMERS

FORMAT = 1
HEAD, CLASSES = "head.safetensors", "classes.json"


class Base(TypedDict):
    """The CLIP that was trained."""

    name: str
    fingerprint: str


class Metadata(TypedDict):
    """The content of ``classes.json``: the classes, and what a prediction needs in addition to the tensors.

    The scores of a solved head are multiplied by ``head_weight``, its text logits by ``text_weight``; ``kernel`` is the kind of
    its random features, and ``representation`` what they are features of. ``likeness`` has the values that 99,
    95 and 90 % of its images reached when they were left out. Images with less likeness than ``unknown_below`` are unknown; 0
    means that none is.
    """

    format: int
    mgclip: str
    base: Base
    names: list[str]
    texts: list[str]
    task_sizes: list[int]
    prompt: str | list[str]
    branches: str
    compensation: str
    vision_weight: float
    fusion: str
    logit_scale: float
    kernel: NotRequired[str]
    representation: NotRequired[str]
    head_weight: NotRequired[float]
    text_weight: NotRequired[float]
    likeness: NotRequired[dict[str, float]]
    unknown_below: float
    image_size: int
    image_mean: list[float]
    image_std: list[float]


def export_clip(model: MGCLIP, folder: Path) -> None:
    """Write a model as a CLIP that transformers loads by itself, completely or not at all.

    Next to the CLIP are ``head.safetensors`` (see ``head_tensors``) and ``classes.json``.

    Args:
        model: The model; it is only read.
        folder: The folder to create; new or empty.

    Raises:
        InputError: If the model has learned no class, or ``folder`` is in use.
    """
    check_learned(model)
    with atomic_folder(folder) as target:
        write_clip(model, target)


def check_learned(model: MGCLIP) -> None:
    """Raise ``InputError`` if the model has learned no class, so that there is nothing to export."""
    if not model.class_names:
        raise InputError("This model has learned no class yet, so there is nothing to export: call learn first.")


def write_clip(model: MGCLIP, folder: Path) -> None:
    """Write the files of ``export_clip`` into an empty folder."""
    from safetensors.torch import save_file

    backbone = model.backbone
    with QUIET_TRANSFORMERS:
        for part in (merged_clip(backbone), backbone.tokenizer, backbone.processor):
            part.save_pretrained(folder)
    save_file(head_tensors(model), folder / HEAD, metadata={"format": "pt"})
    text = json.dumps(metadata(model), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / CLASSES).write_text(text + "\n", encoding="utf-8")


def head_tensors(model: MGCLIP) -> dict[str, Tensor]:
    """The content of ``head.safetensors``: ``texts``, and ``rows`` or the parts of a ``Scorer``; float32, on the CPU."""
    head = {"rows": model.head} if model.solved is None else model.solved.scorer.tensors()
    named = {**head, "texts": in_float32(model).encoder.texts(model.class_texts)}
    return {name: tensor.detach().float().cpu().contiguous() for name, tensor in named.items()}


def merged_clip(backbone: Backbone) -> Any:
    """A CLIP of transformers with weights W + scale B A, float32, on the CPU. The backbone is only read.

    It is built from scratch, because the backbone's image tower is modified (``clip/last_layer.py``).
    """
    from peft.tuners.lora import LoraLayer

    weights = backbone.model.state_dict().items()
    state = {name.replace(".base_layer.", "."): w.detach().cpu().clone() for name, w in weights if ".lora_" not in name}
    for name, module in backbone.model.named_modules():
        if isinstance(module, LoraLayer):
            state[f"{name}.weight"] += module.get_delta_weight("default").detach().cpu()
    config = copy.deepcopy(backbone.model.config)
    model = model_class(family_of(backbone.model))
    with QUIET_TRANSFORMERS:
        clip = model.from_pretrained(None, config=config, state_dict=state, attn_implementation="sdpa", dtype=torch.float32)
    return clip.eval().requires_grad_(False)


def metadata(model: MGCLIP) -> Metadata:
    """The content of ``classes.json`` for a model."""
    settings, backbone = model.settings, model.backbone
    about: Metadata = {
        "format": FORMAT,
        "mgclip": __version__,
        "base": {"name": base_name(backbone), "fingerprint": backbone.fingerprint},
        "names": list(model.class_names),
        "texts": list(model.class_texts),
        "task_sizes": list(model.task_sizes),
        "prompt": settings.prompt,
        "branches": settings.branches,
        "compensation": settings.compensation,
        "vision_weight": settings.vision_weight,
        "fusion": settings.fusion,
        "logit_scale": float(backbone.logit_scale),
        "unknown_below": settings.unknown_below,
        "image_size": backbone.image_size,
        "image_mean": [float(value) for value in backbone.processor.image_mean],
        "image_std": [float(value) for value in backbone.processor.image_std],
    }
    if model.solved is not None:
        fit = model.solved.calibration
        about["kernel"], about["representation"] = model.solved.fourier.kernel, model.solved.fourier.representation
        about["head_weight"], about["text_weight"] = fit.head / fit.deviation, fit.text
        about["likeness"] = by_share(fit.likeness)
    return about
