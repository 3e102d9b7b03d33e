"""A CLIP is loaded by name, from a folder or from a file; damaged ones are refused in one sentence."""

import json
import shutil

import pytest
import torch
from small_clip import ICONCLIP

from mgclip.clip import load
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: (f / "config.json").unlink(), r"is not a CLIP: it has neither a config\.json nor an open_clip_config\.json"),
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
def test_a_damaged_folder_is_refused(tiny_clip, tmp_path, damage, sentence):
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


def test_a_clip_that_does_not_exist_is_refused(monkeypatch):
    with pytest.raises(InputError, match=r"There is no CLIP at iconclop: give a hub id such as"):
        load_backbone("iconclop")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError,
        match=r"The CLIP nobody/nothing is not stored .* cannot be loaded \(.+\): check the name and the network",
    ):
        load_backbone("nobody/nothing")


def test_iconclip_is_smaller_than_8_mb():
    assert sum(file.stat().st_size for file in ICONCLIP.iterdir()) <= 8_000_000


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
    with pytest.raises(InputError, match=r"The open_clip_config.json of .* has no model_cfg"):
        load_backbone(folder)


def test_rounding_does_not_depend_on_where_the_weights_start_in_their_file(tiny_clip, monkeypatch):
    really, expected = load._from_folder, load_backbone(tiny_clip, "cpu").model.state_dict()

    def as_in_a_file(folder, name):
        model, *others = really(folder, name)
        for weight in model.parameters():
            weight.data = torch.empty(weight.numel() + 1)[1:].view_as(weight).copy_(weight)
            assert weight.numel() == 0 or weight.data_ptr() % 64 == 4
        return model, *others

    monkeypatch.setattr(load, "_from_folder", as_in_a_file)
    found = load_backbone(tiny_clip, "cpu").model
    assert all(weight.data_ptr() % 64 == 0 for weight in found.parameters())
    assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())
