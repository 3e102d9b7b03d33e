"""OpenAI's CLIP as its own code lays it out, small: the source of ``.pt`` files to load, and of features to compare with."""

import torch
from torch import nn


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, max(1, width // 64))
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x, mask):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, layers):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width) for _ in range(layers))

    def forward(self, x, mask=None):
        x = x.transpose(0, 1)
        for block in self.resblocks:
            x = block(x, mask)
        return x.transpose(0, 1)


class Visual(nn.Module):
    def __init__(self, size, patch, width, layers, dim):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * 0.1)
        self.positional_embedding = nn.Parameter(torch.randn((size // patch) ** 2 + 1, width) * 0.1)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, layers)
        self.proj = nn.Parameter(torch.randn(width, dim) * width**-0.5)

    def forward(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class OpenAIClip(nn.Module):
    def __init__(self, size=32, patch=8, width=128, layers=3, text_width=64, text_layers=2, dim=48, vocabulary=49408, length=77):
        super().__init__()
        self.visual = Visual(size, patch, width, layers, dim)
        self.transformer = Transformer(text_width, text_layers)
        self.token_embedding = nn.Embedding(vocabulary, text_width)
        self.positional_embedding = nn.Parameter(torch.randn(length, text_width) * 0.1)
        self.ln_final = nn.LayerNorm(text_width)
        self.text_projection = nn.Parameter(torch.randn(text_width, dim) * text_width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        for name, count in (("input_resolution", size), ("context_length", length), ("vocab_size", vocabulary)):
            self.register_buffer(name, torch.tensor(count))

    def encode_text(self, ids):
        mask = torch.full((ids.shape[1], ids.shape[1]), float("-inf")).triu(1)
        x = self.ln_final(self.transformer(self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]], mask))
        return x[torch.arange(len(x)), ids.argmax(-1)] @ self.text_projection

    def forward(self, image, ids):
        return self.visual(image), self.encode_text(ids)


def published_state(model):
    """As OpenAI's archives store it: half precision, with three counts next to the weights."""
    return {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}


def small_openai_clip():
    torch.manual_seed(0)
    return OpenAIClip(width=64, layers=1, text_width=8, text_layers=1, vocabulary=49408)
