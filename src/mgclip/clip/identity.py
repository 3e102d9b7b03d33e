"""What identifies a CLIP: a digest of its weights, and its name for others."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mgclip.clip.backbone import Backbone
from mgclip.clip.openclip_models import split_reference


def fingerprint(model: Any) -> str:
    """Return a digest of a model's weights, which does not depend on how they were stored.

    It covers names, shapes and float32 values of all parameters, before adapters are attached.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def hub_id(backbone: Backbone) -> str | None:
    """Return the hub id that a backbone was loaded by; None if it came from a file, a folder or this package."""
    name, architecture = split_reference(backbone.reference)
    is_path = name.startswith((".", "/", "~")) or name.endswith(".pt") or bool(architecture) or Path(name).exists()
    return name if name.count("/") == 1 and not is_path else None


def base_name(backbone: Backbone) -> str:
    """Return the name of a backbone in files that leave this machine: its hub id, or the last part of its path."""
    return hub_id(backbone) or Path(backbone.reference).name
