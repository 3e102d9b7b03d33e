"""CLIPs of OpenCLIP give the features that OpenCLIP itself recorded, and what is not supported is refused in one sentence."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_openclip import MODELS, TEXTS, deviations, make_folder, state_of

from mgclip import MGCLIP, Settings
from mgclip.clip import openclip_models
from mgclip.clip.identity import base_name, hub_id
from mgclip.clip.load import load_backbone
from mgclip.clip.openclip_models import SHAPES, Shape, split_reference
from mgclip.errors import InputError

CLOSE = 1e-5


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_features_are_those_of_openclip(name, file, tmp_path):
    backbone = load_backbone(make_folder(tmp_path / "clip", name, file=file))
    pixels, image, text = deviations(backbone, name)
    assert pixels <= 2  # versions of Pillow round differently
    assert max(image, text) <= CLOSE
    assert backbone.model.config.text_config.max_position_embeddings == 16


@pytest.mark.parametrize("name", MODELS)
def test_the_wrong_activation_would_be_noticed(name, tmp_path):
    def swap(config):
        config["model_cfg"]["quick_gelu"] = not config["model_cfg"].get("quick_gelu", False)

    _, image, text = deviations(load_backbone(make_folder(tmp_path / "clip", name, swap)), name)
    assert min(image, text) > 10 * CLOSE


@pytest.mark.parametrize("name", MODELS)
def test_the_wrong_heads_would_be_noticed(name, tmp_path):
    def swap(config):
        config["model_cfg"]["vision_cfg"]["head_width"] = 32

    _, image, text = deviations(load_backbone(make_folder(tmp_path / "clip", name, swap)), name)
    assert image > 10 * CLOSE and text <= CLOSE


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("part", ["resize_mode", "interpolation"])
def test_the_wrong_resizing_would_be_noticed(name, part, tmp_path):
    def swap(config):
        transform = config["preprocess_cfg"]
        other = {"resize_mode": ("shortest", "squash"), "interpolation": ("bicubic", "bilinear")}[part]
        transform[part] = other[0] if transform.get(part, other[0]) == other[1] else other[1]

    pixels, image, text = deviations(load_backbone(make_folder(tmp_path / "clip", name, swap)), name)
    assert pixels > 10 and max(image, text) <= CLOSE


def test_the_wrong_mean_would_be_noticed(tmp_path):
    name = "quickgelu-squash"
    folder = make_folder(tmp_path / "clip", name, lambda config: config["preprocess_cfg"].pop("mean"))
    assert deviations(load_backbone(folder), name)[1] > 10 * CLOSE


def test_padding_on_the_left_would_be_noticed(tmp_path):
    name = "gelu-shortest"
    backbone = load_backbone(make_folder(tmp_path / "clip", name))
    backbone.tokenizer.padding_side = "left"
    assert deviations(backbone, name)[2] > 10 * CLOSE


def test_tokens_are_those_of_openclip_up_to_the_padding(tmp_path):
    """OpenCLIP pads with zeros to the full length, which a causal tower does not see."""
    tokens = load_backbone(make_folder(tmp_path / "clip", "gelu-shortest")).tokenize(TEXTS)
    assert tokens.shape == (3, 16) and tokens[2, -1] == 49407 and tokens[0, 0] == 49406


@pytest.mark.parametrize("how", ["training", "weights", "safetensors", "custom text"])
def test_a_checkpoint_needs_the_name_of_its_configuration(how, tmp_path, monkeypatch):
    monkeypatch.setitem(SHAPES, "ViT-tiny", Shape(24, 32, 8, 32, 2, 16, 4.0, 16, 2, 2))
    _shorten_context(monkeypatch)
    state = state_of("gelu-shortest")
    file = tmp_path / ("epoch_2.safetensors" if how == "safetensors" else "epoch_2.pt")
    if how == "training":
        parallel = {f"module.{key}": value for key, value in state.items()}
        torch.save(
            {"epoch": 2, "name": "run", "state_dict": parallel, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}}, file
        )
    elif how == "safetensors":
        save_file(state, file)
    else:
        torch.save({_custom(key) if how == "custom text" else key: value for key, value in state.items()}, file)
    assert max(deviations(load_backbone(f"{file}:ViT-tiny"), "gelu-shortest")[1:]) <= CLOSE
    assert load_backbone(f"{file}:ViT-tiny-quickgelu").model.config.vision_config.hidden_act == "quick_gelu"
    if how != "safetensors":
        with pytest.raises(InputError, match=r"its activation and heads are unknown.*name its configuration.*:ViT-B-16"):
            load_backbone(tmp_path / "epoch_2.pt") if how != "custom text" else load_backbone(_plain(file, state))
    with pytest.raises(InputError, match=r"epoch_2\S* does not fit its configuration: .* is missing or has the wrong shape"):
        load_backbone(f"{file}:ViT-small")


def _custom(key):
    return key if key.startswith("visual.") or key == "logit_scale" else f"text.{key}"


def _plain(file, state):
    torch.save(state, file)
    return file


def _shorten_context(monkeypatch):
    """The configurations that OpenCLIP has by name read 77 tokens; the small models read 16."""
    known = openclip_models.model_config

    def shortened(name):
        config = known("ViT-tiny" if name == "ViT-small" else name)
        if name == "ViT-small":
            config["embed_dim"] = 16
        return {**config, "text_cfg": {**config["text_cfg"], "context_length": 16}}

    monkeypatch.setattr("mgclip.clip.openclip.model_config", shortened)


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(InputError, match=r"OpenCLIP's ViT-B16 is not supported: did you mean ViT-B-16\?"):
        load_backbone(f"{tmp_path}/epoch_2.pt:ViT-B16")
    with pytest.raises(InputError, match=r"There is no CLIP file .*epoch_2.pt\."):
        load_backbone(f"{tmp_path}/epoch_2.pt:ViT-B-16")


def test_a_reference_is_split_at_its_architecture():
    assert split_reference("a/b.pt:ViT-B-16") == ("a/b.pt", "ViT-B-16")
    assert split_reference("C:/a/b.pt") == ("C:/a/b.pt", "")
    assert split_reference("laion/clip") == ("laion/clip", "")


@pytest.mark.parametrize("arch", SHAPES)
def test_every_named_configuration_has_whole_heads(arch):
    shape = SHAPES[arch]
    assert shape.width % shape.head_width == shape.text_width % shape.text_heads == 0
    assert int(shape.width * shape.mlp_ratio) == {"ViT-g-14": 6144, "ViT-bigG-14": 8192}.get(arch, 4 * shape.width)
    assert shape.side % shape.patch == 0


REFUSED = {
    "a timm image tower (vit_base_patch16_siglip_224); only": ("vision_cfg", {"timm_model_name": "vit_base_patch16_siglip_224"}),
    "a text tower of Hugging Face (roberta-base); only": ("text_cfg", {"hf_model_name": "roberta-base"}),
    "a ResNet; only": ("vision_cfg", {"layers": [3, 4, 6, 3]}),
    "the tokenizer facebook/xlm-v-base; only CLIP's": ("text_cfg", {"hf_tokenizer_name": "facebook/xlm-v-base"}),
    "vision_cfg.pool_type = 'avg'": ("vision_cfg", {"pool_type": "avg"}),
    "vision_cfg.no_ln_pre = True": ("vision_cfg", {"no_ln_pre": True}),
    "text_cfg.no_causal_mask = True": ("text_cfg", {"no_causal_mask": True}),
    "text_cfg.norm_kwargs": ("text_cfg", {"norm_kwargs": {"eps": 1e-6}}),
    "multimodal_cfg": (None, {"multimodal_cfg": {"width": 8}}),
    "heads that do not divide": ("vision_cfg", {"head_width": 12}),
    "vision_cfg.width must be": ("vision_cfg", {"width": 0}),
    "resize_mode must be": ("preprocess_cfg", {"resize_mode": "longest"}),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_supported_is_refused_in_one_sentence(reason, tmp_path):
    part, change = REFUSED[reason]

    def refused(config):
        place = config if part == "preprocess_cfg" else config["model_cfg"]
        (place[part] if part else place).update(change)

    folder = make_folder(tmp_path / "clip", "gelu-shortest", refused)
    with pytest.raises(InputError) as error:
        load_backbone(folder)
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_folder_is_refused(tmp_path):
    folder = make_folder(tmp_path / "clip", "gelu-shortest")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no weights of OpenCLIP: expected open_clip_model\.safetensors or"):
        load_backbone(folder)
    save_file({**state_of("gelu-shortest"), "logit_bias": torch.tensor(-10.0)}, folder / "open_clip_model.safetensors")
    with pytest.raises(InputError, match="was trained with a sigmoid loss"):
        load_backbone(folder)
    (folder / "open_clip_config.json").write_text('{"preprocess_cfg": {}}')
    with pytest.raises(InputError, match="has no model_cfg"):
        load_backbone(folder)
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        load_backbone(folder)


def test_a_saved_model_finds_its_checkpoint_again(tmp_path, monkeypatch):
    monkeypatch.setitem(SHAPES, "ViT-tiny", Shape(24, 32, 8, 32, 2, 16, 4.0, 16, 2, 2))
    _shorten_context(monkeypatch)
    torch.save(state_of("gelu-shortest"), tmp_path / "epoch_2.pt")
    monkeypatch.chdir(tmp_path)
    model = MGCLIP.from_pretrained("epoch_2.pt:ViT-tiny", settings=Settings(epochs=1, head_epochs=1, adapter_batch_size=4))
    rng = np.random.default_rng(0)
    given = [rng.integers(0, 255, (40, 40, 3), dtype=np.uint8) for _ in range(6)]
    model.learn(given, [0, 0, 0, 1, 1, 1], ["bell", "cup"])
    model.save_pretrained("shop")
    monkeypatch.chdir("/")
    again = MGCLIP.from_pretrained(tmp_path / "shop")
    assert np.array_equal(again.predict(given).probabilities, model.predict(given).probabilities)
    assert again.backbone.reference == f"{tmp_path}/epoch_2.pt:ViT-tiny"
    (tmp_path / "epoch_2.pt").rename(tmp_path / "moved.pt")
    moved = MGCLIP.from_pretrained(tmp_path / "shop", base=tmp_path / "moved.pt")
    assert moved.backbone.reference == f"{tmp_path}/moved.pt:ViT-tiny"
    with pytest.raises(InputError, match="with the configuration ViT-tiny: leave ViT-tiny-quickgelu out"):
        MGCLIP.from_pretrained(tmp_path / "shop", base=f"{tmp_path}/moved.pt:ViT-tiny-quickgelu")


def test_a_checkpoint_is_no_hub_id(tmp_path):
    backbone = load_backbone(make_folder(tmp_path / "clip", "gelu-shortest"))
    backbone.reference = "runs/epoch_2.pt:ViT-B-16"
    assert hub_id(backbone) is None and base_name(backbone) == "epoch_2.pt:ViT-B-16"
    backbone.reference = "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"
    assert hub_id(backbone) == backbone.reference
