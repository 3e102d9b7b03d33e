"""Read OpenAI's own CLIP files (``ViT-B-16.pt``), a state dict or TorchScript archive, and convert them to transformers' layout.

OpenAI's files hold three counts next to the weights. They are required, because only they distinguish such a file from an
OpenCLIP checkpoint, whose tensors have the same names. The activation and the number of heads cannot be read from the weights.
"""

from __future__ import annotations

import gzip
import pickle
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mgclip.clip.check import check_config
from mgclip.clip.compute import out_of_memory
from mgclip.clip.torchscript import check_archive, is_torchscript, read_torchscript
from mgclip.errors import InputError, first_line
from mgclip.missing import not_found

OUTSIDE_BLOCKS = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",  # transformers spells it so
    "visual.ln_post": "vision_model.post_layernorm",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "logit_scale": "logit_scale",
}
IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
REQUIRED = {
    "visual.conv1.weight",
    "visual.proj",
    "visual.positional_embedding",
    "token_embedding.weight",
    "positional_embedding",
    "ln_final.weight",
    "text_projection",
    "logit_scale",
}
RESNET = ("visual.layer1.", "visual.attnpool.")
COUNTS = {"input_resolution", "context_length", "vocab_size"}
BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)((?:\.|_)(?:weight|bias))")


def load_openai(file: Path) -> tuple[Any, Any, Any]:
    """Return model, tokenizer and image processor of an OpenAI ``.pt`` file, without running code from it. The sizes are those
    of the weights. Raises ``InputError`` if there is no such file, or it is a ResNet CLIP, an OpenCLIP checkpoint or in any
    other layout.
    """
    from transformers import CLIPImageProcessorPil

    state = read_state(file, "OpenAI")
    if any(key.startswith(RESNET) for key in state):
        raise InputError(f"{file} is a CLIP with a ResNet; a Vision Transformer is needed (ViT-B/32, B/16 or L/14).")
    if missing := sorted(REQUIRED - state.keys()):
        raise InputError(f"{file} is not a CLIP in OpenAI's layout: it has no {missing[0]}.")
    if missing := sorted(COUNTS - state.keys()):
        raise InputError(
            f"{file} is not one of OpenAI's files, because it has no {missing[0]}: its activation and heads are unknown, as in "
            f"an OpenCLIP checkpoint; if it is one, name its configuration, such as {file}:ViT-B-16."
        )
    try:
        tokenizer = openai_tokenizer(length=state["positional_embedding"].shape[0])
        config = _config(state, tokenizer)
        converted = convert(state)
    except (ValueError, IndexError, TypeError, AttributeError, KeyError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise InputError(f"{file} is not a CLIP in OpenAI's layout: its tensors have unexpected shapes.") from None
    check_config(config.to_dict(), f"The shape of {file}", file.stat().st_size)
    model = build_clip(config, converted, f"{file} is not a complete CLIP in OpenAI's layout")
    size = config.vision_config.image_size
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    return model, tokenizer, processor


def build_clip(config: Any, converted: Mapping[str, Tensor], refusal: str) -> Any:
    """Return a ``CLIPModel`` with converted weights. Raises ``InputError``, which begins with ``refusal``, if they do not fit."""
    from transformers import AutoModel

    model = AutoModel.from_config(config, attn_implementation="sdpa")
    expected = {name: tensor.shape for name, tensor in model.state_dict().items() if "position_ids" not in name}
    found = {name: tensor.shape for name, tensor in converted.items()}
    if wrong := sorted(name for name in expected | found if expected.get(name) != found.get(name)):
        raise InputError(f"{refusal}: {wrong[0]} is missing or has the wrong shape.")
    model.load_state_dict(converted, strict=False)  # only position_ids may be missing, as checked above
    return model


def read_state(file: Path, layout: str) -> dict[str, Tensor]:
    """Return the weights of a file in float32, without running code from it: a state dict, alone or in a training checkpoint, a
    TorchScript archive or safetensors. Raises ``InputError``, which names the ``layout``, if it cannot be read.
    """
    from safetensors.torch import load_file

    if not file.is_file():
        raise not_found("CLIP file", file)
    try:
        state: Any = load_file(file) if file.suffix == ".safetensors" else _read_torch(file)
    except Exception as error:  # a damaged pickle can raise anything
        if out_of_memory(error):
            raise
        raise InputError(
            f"{file} cannot be read as an {layout} CLIP ({first_line(error)}): it must be a state dict of tensors or a "
            "TorchScript archive."
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided and value.is_cpu
        for name, value in state.items()
    ):
        raise InputError(f"{file} is not a CLIP in {layout}'s layout: it contains values other than named tensors.")
    if sum(value.numel() for value in state.values()) > file.stat().st_size:
        raise InputError(f"{file} is not a CLIP in {layout}'s layout: its tensors claim more elements than the file contains.")
    return {name.removeprefix("module."): value.float() for name, value in state.items()}


def _read_torch(file: Path) -> Any:
    if is_torchscript(file):
        return {name: tensor for name, tensor in read_torchscript(file).items() if _may_be_weight(name)}
    check_archive(file)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # PyTorch's message recommends to load the file unsafely
        raise ValueError("it is damaged, or contains something other than tensors") from None


def _may_be_weight(name: str) -> bool:
    """Whether a tensor of an archive can be a weight. Modules also hold masks and other buffers."""
    known = name in OUTSIDE_BLOCKS or name in REQUIRED or name.rpartition(".")[0] in OUTSIDE_BLOCKS or name in COUNTS
    return known or BLOCK.fullmatch(name) is not None or name.startswith(RESNET)


def _config(state: Mapping[str, Tensor], tokenizer: Any) -> Any:
    from transformers import CLIPConfig

    width, _, _, patch = state["visual.conv1.weight"].shape
    side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    projection = int(state["text_projection"].shape[1])

    def tower(prefix: str, width: int) -> dict[str, object]:
        blocks = {match[2] for key in state if (match := BLOCK.fullmatch(key)) and (match[1] or "") == prefix}
        return {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": len(blocks),
            "num_attention_heads": max(1, width // 64),
            "hidden_act": "quick_gelu",
            "projection_dim": projection,
        }

    vision = {**tower("visual.", width), "image_size": side * patch, "patch_size": patch}
    text = {
        **tower("", state["ln_final.weight"].shape[0]),
        "vocab_size": int(state["token_embedding.weight"].shape[0]),
        "max_position_embeddings": int(state["positional_embedding"].shape[0]),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPConfig(vision_config=vision, text_config=text, projection_dim=projection)


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert OpenAI's weights to transformers' names and layout: split the fused query/key/value, transpose the projections."""
    converted: dict[str, Tensor] = {}
    for key, value in state.items():
        if key in COUNTS:
            continue
        if key in ("visual.proj", "text_projection"):
            converted[{"visual.proj": "visual_projection"}.get(key, key) + ".weight"] = value.T.contiguous()
        elif match := BLOCK.fullmatch(key):
            tower, number, part, kind = match.groups()
            layer = f"{'vision' if tower else 'text'}_model.encoder.layers.{number}."
            if part == "attn.in_proj":
                for letter, third in zip("qkv", value.chunk(3), strict=True):
                    converted[f"{layer}self_attn.{letter}_proj.{kind[1:]}"] = third.contiguous()
            else:
                converted[layer + IN_BLOCK.get(part, part) + kind] = value
        else:
            stem, _, kind = key.rpartition(".")
            converted[OUTSIDE_BLOCKS.get(key) or f"{OUTSIDE_BLOCKS.get(stem, stem)}.{kind}"] = value
    if converted["logit_scale"].ndim:
        converted["logit_scale"] = converted["logit_scale"].reshape(())
    return converted


def openai_tokenizer(length: int = 77) -> Any:
    """Build CLIP's byte-pair tokenizer from the merges in the package, because OpenAI's files have no tokenizer."""
    from transformers import CLIPTokenizer

    text = gzip.decompress((files("mgclip") / "assets" / "openai_merges.txt.gz").read_bytes()).decode()
    merges = [(left, right) for left, right in (line.split(" ") for line in text.splitlines())]
    symbols = _byte_symbols()
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def _byte_symbols() -> list[str]:
    """One printable character for each byte, in the order of CLIP's vocabulary, which begins with the printable bytes."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [*map(chr, printable), *(chr(256 + number) for number in range(len(rest)))]
