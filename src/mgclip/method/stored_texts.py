"""Text features of many classes, stored with a model: encoding them again takes minutes each time that the model is loaded.

They are used only if they would be computed again: from the same weights and adapters, in the same precision, and from the same
tokens of the same classes. A file that is missing, damaged or of something else is ignored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from mgclip.clip.adapters import adapter_state
from mgclip.clip.encoder import Encoder
from mgclip.saving.checked_file import as_bytes

FILE = "texts.safetensors"
MANY = 1000
"""Text features are stored from this number of classes on."""
ROWS = 1024
"""Classes whose texts become tokens at a time."""


def save(state: Path, encoder: Encoder, texts: Sequence[str]) -> None:
    """Store the text features of these classes in a folder if there are many and all are cached already."""
    from safetensors.torch import save_file

    features = encoder.known_texts(texts) if len(texts) >= MANY else None
    if features is not None:
        features = features.cpu().contiguous()
        save_file({"features": features}, state / FILE, {"of": _digest(encoder, texts, features)})


def recall(state: Path, encoder: Encoder, texts: Sequence[str]) -> None:
    """Use the text features of these classes that are stored in a folder, if there are any."""
    from safetensors import SafetensorError, safe_open

    if len(texts) < MANY or not (state / FILE).is_file():
        return
    try:
        with safe_open(state / FILE, framework="pt") as opened:
            of, features = (opened.metadata() or {}).get("of"), opened.get_tensor("features")
    except (OSError, SafetensorError):
        return
    if of == _digest(encoder, texts, features):
        encoder.remember_texts(texts, features.to(encoder.backbone.device))


def _digest(encoder: Encoder, texts: Sequence[str], features: Tensor) -> str:
    """A digest of the features and of all that decides them. Tokens stand for the texts, the prompts and the tokenizer."""
    backbone = encoder.backbone
    config = backbone.model.config.text_config.to_json_string(use_diff=False)
    found = hashlib.sha256(repr((backbone.fingerprint, config, backbone.compute.precision, len(encoder.templates))).encode())
    tensors = [weight for _, weight in sorted(adapter_state(backbone).items())]
    tokens = (backbone.class_tokens(encoder.templates, texts[start : start + ROWS]) for start in range(0, len(texts), ROWS))
    for part in (*tensors, *tokens, features):
        found.update(f"{tuple(part.shape)} {part.dtype}".encode() + as_bytes(part))
    return found.hexdigest()
