"""A backbone is frozen and keeps its activation; the published architectures load, adapt, encode and learn."""

import json
import shutil

import pytest
import torch
from PIL import Image
from small_clip import ICONCLIP

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_weights
from mgclip.clip.load import load_backbone

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
def test_a_published_architecture_loads_adapts_and_learns(name, tmp_path):
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


def test_weights_are_frozen_float32_and_fingerprinted(tiny_clip, tmp_path):
    backbone = load_backbone(tiny_clip)
    assert not any(p.requires_grad for p in backbone.model.parameters())
    assert {p.dtype for p in backbone.model.parameters()} == {torch.float32}
    assert backbone.model.config._attn_implementation == "sdpa"
    assert not backbone.model.training
    copy = tmp_path / "copy"
    backbone.model.save_pretrained(copy)
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        shutil.copy(tiny_clip / name, copy)
    assert load_backbone(copy).fingerprint == backbone.fingerprint
    assert load_backbone("iconclip").fingerprint != backbone.fingerprint


@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
def test_the_activation_is_that_of_the_configuration(tiny_clip, tmp_path, act):
    folder = tmp_path / "clip"
    shutil.copytree(tiny_clip, folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["hidden_act"] = act
    (folder / "config.json").write_text(json.dumps(config))
    pixels = torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)
    backbone = load_backbone(folder)
    x = torch.linspace(-3, 3, 7)
    expected = {"gelu": torch.nn.functional.gelu(x), "quick_gelu": x * torch.sigmoid(1.702 * x)}[act]
    torch.testing.assert_close(backbone.model.vision_model.encoder.layers[0].mlp.activation_fn(x), expected)
    assert torch.isfinite(backbone.image_features(pixels)).all()


def test_prompts_are_cut_to_the_longest_without_changing_features(tiny_clip):
    backbone = load_backbone(tiny_clip)
    texts = ["a good photo of a bell.", "a good photo of a git pull request.", "x"]
    short = backbone.tokenize(texts)
    full = backbone.tokenizer(texts, padding="max_length", max_length=24, return_tensors="pt")["input_ids"]
    assert short.shape[1] < 14
    with torch.no_grad():
        torch.testing.assert_close(backbone.text_features(short), backbone.text_features(full), rtol=1e-5, atol=1e-6)
    assert backbone.tokenize(["word " * 200]).shape == (1, 24)
