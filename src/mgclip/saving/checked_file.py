"""Files of tensors that are written atomically and with a checksum, so that a damaged one is recognised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mgclip.disk import replace_file


def write_checked(file: Path, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write tensors, and facts about them as JSON.

    Args:
        file: The file, which is replaced if it exists. Its folder exists.
        about: The facts.
        tensors: The tensors by name, on any device.
    """
    from safetensors.torch import save

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(about)
    replace_file(file, save(stored, {"about": text, "checksum": checksum(text, stored)}))


def read_checked(file: Path) -> tuple[Any, dict[str, Tensor]] | None:
    """Read what ``write_checked`` has written.

    Returns:
        The facts and the tensors, on the CPU; None if there is no such file, or it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
        if metadata.get("checksum") != checksum(metadata.get("about", ""), tensors):
            return None
        return json.loads(metadata["about"]), tensors
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError):
        return None  # torch raises a RuntimeError if the file is replaced while it is read


def checksum(about: str, tensors: Mapping[str, Tensor]) -> str:
    """The checksum of a text and of named tensors."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(as_bytes(tensors[name]))
    return digest.hexdigest()


def as_bytes(tensor: Tensor) -> bytes:
    """The values of a tensor, on any device, as they are in memory."""
    content: bytes = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return content
