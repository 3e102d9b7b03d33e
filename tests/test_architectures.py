"""The published architectures at their true size, with random weights: they load, adapt, encode and learn."""

import pytest
import torch
from PIL import Image
from small_clip import ICONCLIP

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_weights

BASE_TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "projection_dim": 768,
}
LARGE_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768}
SHAPES = {
    "ViT-B/32": (512, {"patch_size": 32}, BASE_TEXT, 491_520),
    "ViT-B/16": (512, {"patch_size": 16}, BASE_TEXT, 491_520),
    "ViT-L/14": (768, {"patch_size": 14, **LARGE}, LARGE_TEXT, 8 * 2 * 2 * (24 * 1024 + 12 * 768)),
    # LAION's ViT-B/32 in Hugging Face layout: the same shape with the exact gelu
    "OpenCLIP ViT-B/32": (512, {"patch_size": 32, "hidden_act": "gelu"}, {**BASE_TEXT, "hidden_act": "gelu"}, 491_520),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_architecture(name, tmp_path):
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    width, vision, text, adapters = SHAPES[name]
    tokenizer = CLIPTokenizer.from_pretrained(ICONCLIP)
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CLIPConfig(vision_config=vision, text_config={**text, **ends}, projection_dim=width)
    torch.manual_seed(0)
    for part in (CLIPModel(config).half(), tokenizer, CLIPImageProcessorPil()):
        part.save_pretrained(tmp_path)
    model = MGCLIP.from_pretrained(tmp_path, settings=Settings(epochs=1, adapter_batch_size=2, head_epochs=1))
    assert sum(weight.numel() for _, weight in adapter_weights(model.backbone)) == adapters
    images = [Image.new("RGB", (300, 260), colour) for colour in ("red", "green", "blue", "white")]
    model.learn(images, [0, 0, 1, 1], ["warm", "cold"])
    found = model.predict(images)
    assert found.probabilities.shape == (4, 2)
    assert model.head.shape == (2, width)
