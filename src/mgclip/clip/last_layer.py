"""Compute only the class token in the image tower's last layer. The result is exact (docs/performance.md).

The feature of most towers is their class token. The last layer needs the keys and values of all tokens, but queries, output
projection and MLP of the class token only. This saves most of one layer, of the twelve of ViT-B/16, in the forward and the
backward pass.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mgclip.clip.family import family_of


def compute_class_token_only_in_last_layer(model: Any) -> None:
    """Make the last layer of the image tower return the class token ``(b, 1, w)`` instead of ``(b, tokens, w)``.

    The tower uses the first token of the last layer's output, so nothing else changes. A tower with a pooling head uses all
    tokens and stays as it is.
    """
    if not family_of(model).class_token:
        return
    layer = model.vision_model.encoder.layers[-1]
    layer.forward = partial(_class_token, layer)  # unlike a closure, it can be pickled with the model


def _class_token(layer: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any) -> Tensor:
    attention = layer.self_attn
    heads = partial(_heads, number=attention.num_heads)
    normed = layer.layer_norm1(hidden_states)  # [b, t, w]
    queries = heads(attention.q_proj(normed[:, :1]))  # [b, h, 1, w / h]
    keys, values = heads(attention.k_proj(normed)), heads(attention.v_proj(normed))  # [b, h, t, w / h]
    attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=attention_mask, scale=attention.scale)
    token: Tensor = hidden_states[:, :1] + attention.out_proj(attended.transpose(1, 2).flatten(2))  # [b, 1, w]
    result: Tensor = token + layer.mlp(layer.layer_norm2(token))
    return result


def _heads(states: Tensor, *, number: int) -> Tensor:
    split: Tensor = states.unflatten(-1, (number, states.shape[-1] // number))
    return split.transpose(1, 2)
