"""Every way to bring a CLIP, and every way that must fail with a sentence."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from openai_clip import OpenAIClip, published_state
from PIL import Image
from small_clip import ICONCLIP

from mgclip.clip.load import load_backbone
from mgclip.clip.openai import openai_tokenizer
from mgclip.clip.pixels import PreparedImages
from mgclip.errors import InputError
from mgclip.images import to_rgb


@pytest.fixture(scope="module")
def openai_model():
    torch.manual_seed(2)
    model = OpenAIClip().eval()
    for weight in model.parameters():
        weight.data = weight.data.half().float()
    return model


@pytest.fixture(scope="module", params=["state dict", "archive", "wrapped"])
def openai_file(request, openai_model, tmp_path_factory):
    file = tmp_path_factory.mktemp("openai") / "ViT-tiny.pt"
    if request.param == "archive":
        example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
        torch.jit.trace(openai_model, example, check_trace=False).save(str(file))
    elif request.param == "wrapped":  # as training in several processes saves it
        state = {f"module.{name}": value for name, value in openai_model.state_dict().items()}
        torch.save({"state_dict": state}, file)
    else:
        torch.save(published_state(openai_model), file)
    return file


@torch.no_grad()
def test_openai_file_gives_openais_features(openai_file, openai_model):
    backbone = load_backbone(openai_file)
    config = backbone.model.config
    assert (backbone.image_size, backbone.feature_dim, config.vision_config.num_attention_heads) == (32, 48, 2)
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    theirs = torch.nn.functional.normalize(openai_model.visual((pixels.float() / 255 - mean) / std), dim=-1)
    torch.testing.assert_close(backbone.image_features(pixels), theirs, rtol=1e-4, atol=2e-6)
    texts = ["a good photo of a goldfish.", "a good photo of a great white shark, seen from below."]
    ids = backbone.tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    theirs = torch.nn.functional.normalize(openai_model.encode_text(ids), dim=-1)
    short = backbone.tokenize(texts)
    assert short.shape[1] < 20
    torch.testing.assert_close(backbone.text_features(short), theirs, rtol=1e-4, atol=2e-6)
    assert backbone.logit_scale.item() == pytest.approx(np.exp(openai_model.logit_scale.item()))


def test_openai_vocabulary():
    """Token ids of OpenAI's own tokenizer, as its repository's example prints them, and of common words."""
    tokenizer = openai_tokenizer()
    assert len(tokenizer) == 49408
    assert tokenizer("a diagram")["input_ids"] == [49406, 320, 22697, 49407]
    assert tokenizer("a dog")["input_ids"] == [49406, 320, 1929, 49407]
    assert tokenizer("a cat")["input_ids"] == [49406, 320, 2368, 49407]


def test_resnet_clip_is_refused(tmp_path):
    torch.save(
        {"visual.layer1.0.conv1.weight": torch.zeros(1), "visual.attnpool.k_proj.weight": torch.zeros(1)},
        tmp_path / "RN50.pt",
    )
    with pytest.raises(InputError, match=r"RN50\.pt is a CLIP with a ResNet; a Vision Transformer is needed"):
        load_backbone(tmp_path / "RN50.pt")


def test_other_pt_files_are_refused(tmp_path, openai_model):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "linear.pt")
    with pytest.raises(InputError, match=r"linear\.pt is not a CLIP in OpenAI's layout: it has no ln_final\.weight"):
        load_backbone(tmp_path / "linear.pt")
    for name in ("positional_embedding", "visual.positional_embedding", "token_embedding.weight", "logit_scale"):
        state = published_state(openai_model)
        del state[name]
        torch.save(state, tmp_path / "lacking.pt")
        with pytest.raises(InputError, match=rf"lacking\.pt is not a CLIP in OpenAI's layout: it has no {name}"):
            load_backbone(tmp_path / "lacking.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="contains values other than named tensors"):
        load_backbone(tmp_path / "list.pt")
    state = published_state(openai_model)
    del state["visual.transformer.resblocks.1.mlp.c_fc.bias"]
    torch.save(state, tmp_path / "partial.pt")
    with pytest.raises(InputError, match=r"is not a complete CLIP .*layers\.1\.mlp\.fc1\.bias is missing"):
        load_backbone(tmp_path / "partial.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match=r"cut\.pt cannot be read as an OpenAI CLIP"):
        load_backbone(tmp_path / "cut.pt")
    with pytest.raises(InputError, match=r"There is no CLIP file .*none\.pt"):
        load_backbone(tmp_path / "none.pt")


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (Path(self.mark),))


def test_a_pickle_that_runs_code_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"visual.proj": Evil(str(mark))}, tmp_path / "evil.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil(str(mark))))
    for name in ("evil.pt", "raw.pt"):
        with pytest.raises(InputError, match="cannot be read as an OpenAI CLIP"):
            load_backbone(tmp_path / name)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: (f / "config.json").unlink(), r"is not a CLIP in Hugging Face layout: it has no config\.json"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json cannot be read"),
        (
            lambda f: (f / "config.json").write_text('{"model_type": "bert"}'),
            r"holds a model of type bert; a CLIP is needed",
        ),
        (lambda f: (f / "model.safetensors").unlink(), r"has no weights: expected model\.safetensors"),
        (lambda f: (f / "tokenizer.json").unlink(), r"has no tokenizer: expected tokenizer\.json"),
        (
            lambda f: (f / "preprocessor_config.json").unlink(),
            r"has no preprocessor: expected preprocessor_config\.json",
        ),
        (lambda f: overwrite(f, b"\x00" * 1_000_000), r"cannot be loaded \(.+\): restore the folder"),
        (lambda f: overwrite(f, b"\x00" * 64), r"parameters, but its weights have only 64 bytes"),
        (lambda f: drop_weight(f), r"do not fit its config\.json: visual_projection\.weight is missing"),
    ],
)
def test_damaged_folders(tiny_clip, tmp_path, damage, sentence):
    folder = tmp_path / "clip"
    shutil.copytree(tiny_clip, folder)
    damage(folder)
    with pytest.raises(InputError, match=sentence):
        load_backbone(folder)


def overwrite(folder, content):
    (folder / "model.safetensors").write_bytes(content)


def drop_weight(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_there_is_no_such_clip(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"There is no CLIP at iconclop: give a hub id such as"):
        load_backbone("iconclop")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError,
        match=r"The CLIP nobody/nothing is not stored .* cannot be loaded \(.+\): check the name and the network",
    ):
        load_backbone("nobody/nothing")


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
def test_the_activation_is_the_configs(tiny_clip, tmp_path, act):
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


def test_transform_is_clips(tiny_clip):
    """The stored bytes, normalised, equal what the complete image processor gives, if it crops where torchvision does."""
    backbone = load_backbone(tiny_clip)
    rng = np.random.default_rng(0)
    images = [
        Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8))
        for h, w in [(40, 62), (62, 40), (32, 32), (20, 33)]
    ]
    whole = backbone.processor(images, return_tensors="pt")["pixel_values"]
    mean, std = backbone._mean_std
    ours = (backbone.transform(images).float() / 255 - mean) / std
    torch.testing.assert_close(ours, whole, rtol=1e-5, atol=1e-6)


def test_prompts_are_cut_to_the_longest_without_changing_features(tiny_clip):
    backbone = load_backbone(tiny_clip)
    texts = ["a good photo of a bell.", "a good photo of a git pull request.", "x"]
    short = backbone.tokenize(texts)
    full = backbone.tokenizer(texts, padding="max_length", max_length=24, return_tensors="pt")["input_ids"]
    assert short.shape[1] < 14
    with torch.no_grad():
        torch.testing.assert_close(backbone.text_features(short), backbone.text_features(full), rtol=1e-5, atol=1e-6)
    assert backbone.tokenize(["word " * 200]).shape == (1, 24)


def test_pixels_transform_each_image_once():
    asked = []

    def transform(images):
        asked.extend(images)
        return torch.stack([torch.from_numpy(np.asarray(image)).permute(2, 0, 1) for image in images])

    images = [np.full((4, 4, 3), i, dtype=np.uint8) for i in range(6)]
    pixels = PreparedImages(images, transform)
    assert pixels.batch(torch.tensor([4, 1]))[:, 0, 0, 0].tolist() == [4, 1]
    assert pixels.batch(torch.tensor([1, 2, 4]))[:, 0, 0, 0].tolist() == [1, 2, 4]
    assert pixels.batch(torch.arange(6))[:, 0, 0, 0].tolist() == list(range(6))
    assert len(asked) == 6
    asked.clear()
    small = PreparedImages(images, transform, keep_bytes=10)
    for _ in range(2):
        assert small.batch(torch.tensor([3, 0]))[:, 0, 0, 0].tolist() == [3, 0]
    assert len(asked) == 4


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "I;16", "LA"])
def test_images_of_any_mode_become_rgb(tmp_path, mode):
    Image.new(mode, (5, 4)).save(tmp_path / "image.tiff")
    assert to_rgb(tmp_path / "image.tiff").mode == "RGB"
    assert to_rgb(str(tmp_path / "image.tiff")).size == (5, 4)


def test_iconclip_is_small():
    assert sum(file.stat().st_size for file in ICONCLIP.iterdir()) <= 8_000_000


@pytest.mark.parametrize("kind", ["training", "weights", "archive"])
def test_openclip_checkpoints_are_refused(openai_model, tmp_path, kind):
    """Their tensors have the same names; activation and heads cannot be read from them."""
    file = tmp_path / "epoch_32.pt"
    counts = ("input_resolution", "context_length", "vocab_size")
    state = {name: value for name, value in openai_model.state_dict().items() if name not in counts}
    if kind == "training":
        torch.save(
            {"epoch": 32, "name": "run", "state_dict": {f"module.{name}": value for name, value in state.items()}}, file
        )
    elif kind == "weights":
        torch.save(state, file)
    else:
        bare = OpenAIClip().eval()
        for name in counts:
            delattr(bare, name)
        example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
        torch.jit.trace(bare, example, check_trace=False).save(str(file))
    with pytest.raises(InputError, match=r"is not one of OpenAI's files, .* as in an OpenCLIP checkpoint"):
        load_backbone(file)


def test_an_openclip_folder_must_state_activation_and_heads(tiny_clip, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(tiny_clip, folder)
    (folder / "open_clip_config.json").write_text("{}")
    config = json.loads((folder / "config.json").read_text())
    for tower in ("vision_config", "text_config"):
        config[tower] |= {"hidden_act": "gelu", "num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps(config))
    assert load_backbone(folder).model.config.vision_config.hidden_act == "gelu"
    for tower in ("vision_config", "text_config"):
        for key in ("hidden_act", "num_attention_heads"):
            lacking = json.loads(json.dumps(config))
            del lacking[tower][key]
            (folder / "config.json").write_text(json.dumps(lacking))
            with pytest.raises(InputError, match=rf"is an OpenCLIP model and its config\.json has no {tower}\.{key}"):
                load_backbone(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"is not a CLIP in Hugging Face layout: it is in OpenCLIP's"):
        load_backbone(folder)
