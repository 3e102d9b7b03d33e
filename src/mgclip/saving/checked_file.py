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
from mgclip.errors import first_line


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
        The facts and the tensors, on the CPU; None if there is no such file, it is damaged, or it cannot be read.
    """
    try:
        about, tensors = load_checked(file)
        return about, {name: tensor.clone() for name, tensor in tensors.items()}  # the file may be replaced from now on
    except (OSError, ValueError, RuntimeError):
        return None


def load_checked(file: Path) -> tuple[Any, dict[str, Tensor]]:
    """Read what ``write_checked`` has written, and say why if this fails.

    Returns:
        The facts and the tensors, on the CPU. They take no memory of their own: the file, which must not change, is mapped.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the machine cannot read it at the moment.
        ValueError: If it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(first_line(error)) from None
    except RuntimeError as error:  # torch cannot map the file into memory, or the file is replaced while it is read
        raise OSError(first_line(error)) from None
    about = metadata.get("about", "")
    if metadata.get("checksum") != checksum(about, tensors):
        raise ValueError("its content has changed")
    return json.loads(about), tensors


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
