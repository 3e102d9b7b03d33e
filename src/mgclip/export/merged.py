"""A trained model as an ordinary CLIP in Hugging Face layout: the adapters folded into the projections they sit on."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch

from mgclip._version import __version__
from mgclip.clip.backbone import Backbone
from mgclip.clip.load import EMBEDDED
from mgclip.errors import InputError
from mgclip.export.exact import in_float32
from mgclip.export.place import whole_folder
from mgclip.method.learner import MGCLIP

FORMAT = 1
HEAD, CLASSES = "head.safetensors", "classes.json"


def export_clip(model: MGCLIP, folder: Path) -> None:
    """Write a model as a CLIP that ``transformers.CLIPModel`` loads by itself, whole or not at all.

    Beside the CLIP lie ``head.safetensors`` (``rows``, the head, and ``texts``, the L2-normalised text features, both
    ``(classes, d)``) and ``classes.json``. The model is only read. Raises ``InputError`` where it has learned no class, or
    where something is at ``folder`` already.
    """
    check_learned(model)
    with whole_folder(folder) as place:
        write_clip(model, place)


def check_learned(model: MGCLIP) -> None:
    """See that there is something to export. Raises ``InputError`` before anything was learned."""
    if not model.class_names:
        raise InputError("This model has learned no class yet, so there is nothing to export: call learn first.")


def write_clip(model: MGCLIP, folder: Path) -> None:
    """Write the files of ``export_clip`` into an empty folder."""
    from safetensors.torch import save_file

    backbone = model.backbone
    for part in (plain_clip(backbone), backbone.tokenizer, backbone.processor):
        part.save_pretrained(folder)
    texts = in_float32(model).encoder.texts(model.class_texts)
    tensors = {"rows": model.head.detach().float().cpu().contiguous(), "texts": texts.cpu().contiguous()}
    save_file(tensors, folder / HEAD, metadata={"format": "pt"})
    about = json.dumps(description(model), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / CLASSES).write_text(about + "\n", encoding="utf-8")


def plain_clip(backbone: Backbone) -> Any:
    """A ``transformers.CLIPModel`` with weights W + scale B A, float32, on the processor. The backbone is only read.

    It is built anew, because the backbone's own image tower takes a short cut (``clip/shortcut.py``).
    """
    from peft.tuners.lora import LoraLayer
    from transformers import CLIPModel

    weights = backbone.model.state_dict().items()
    state = {name.replace(".base_layer.", "."): w.detach().cpu().clone() for name, w in weights if ".lora_" not in name}
    for name, module in backbone.model.named_modules():
        if isinstance(module, LoraLayer):
            state[f"{name}.weight"] += module.get_delta_weight("default").detach().cpu()
    config = copy.deepcopy(backbone.model.config)
    plain = CLIPModel.from_pretrained(
        None, config=config, state_dict=state, attn_implementation="sdpa", dtype=torch.float32
    )
    return plain.eval().requires_grad_(False)


def description(model: MGCLIP) -> dict[str, Any]:
    """What ``classes.json`` holds: the classes, and all that a prediction takes beside the tensors."""
    settings, backbone = model.settings, model.backbone
    return {
        "format": FORMAT,
        "mgclip": __version__,
        "base": {"name": base_name(backbone), "fingerprint": backbone.fingerprint},
        "names": list(model.class_names),
        "texts": list(model.class_texts),
        "task_sizes": list(model.task_sizes),
        "prompt": settings.prompt,
        "branches": settings.branches,
        "vision_weight": settings.vision_weight,
        "fusion": settings.fusion,
        "logit_scale": float(backbone.logit_scale),
        "image_size": backbone.image_size,
        "image_mean": [float(value) for value in backbone.processor.image_mean],
        "image_std": [float(value) for value in backbone.processor.image_std],
    }


def hub_id(backbone: Backbone) -> str | None:
    """The hub id a backbone was loaded by; None where it came from a file, a folder or this package."""
    name = backbone.reference
    elsewhere = name.startswith((".", "/", "~")) or name.endswith(".pt") or Path(name).exists()
    return name if name.count("/") == 1 and not elsewhere else None


def base_name(backbone: Backbone) -> str:
    """What to call a backbone in what leaves this machine: its hub id, or the last part of a path."""
    name = backbone.reference
    return hub_id(backbone) or (name if name == EMBEDDED else Path(name).name)
