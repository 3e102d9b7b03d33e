"""An exact saving: the image tower is read at its class token, so its last layer needs to compute no other (docs/performance.md).

Keys and values of all tokens still take part in the last attention; queries, output projection and MLP are the class token's
alone. That saves most of one layer, of the twelve of ViT-B/16, forward and backward.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor


def compute_class_token_only_in_last_layer(model: Any) -> None:
    """Make the last layer of a ``CLIPModel``'s image tower give the class token ``(b, 1, w)`` of its input ``(b, tokens, w)``.

    The tower takes the first token of what its last layer gives, so it works on unchanged.
    """
    layer = model.vision_model.encoder.layers[-1]
    layer.forward = partial(_class_token, layer)  # not a closure: a model can be pickled


def _class_token(layer: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any) -> Tensor:
    attention = layer.self_attn
    heads = partial(_heads, number=attention.num_heads)
    normed = layer.layer_norm1(hidden_states)  # [b, t, w]
    queries = heads(attention.q_proj(normed[:, :1]))  # [b, h, 1, w / h]
    keys, values = heads(attention.k_proj(normed)), heads(attention.v_proj(normed))  # [b, h, t, w / h]
    found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=attention_mask, scale=attention.scale)
    token: Tensor = hidden_states[:, :1] + attention.out_proj(found.transpose(1, 2).flatten(2))  # [b, 1, w]
    result: Tensor = token + layer.mlp(layer.layer_norm2(token))
    return result


def _heads(states: Tensor, *, number: int) -> Tensor:
    split: Tensor = states.unflatten(-1, (number, states.shape[-1] // number))
    return split.transpose(1, 2)
