"""``mgclip backbones`` and ``mgclip fetch``."""

import json

import pytest
import torch

from mgclip.clip.load import load_backbone
from mgclip.clip.openclip_models import model_config
from mgclip.clip.published import PUBLISHED


def test_the_table_names_licences_and_commands(mgclip):
    code, out, _ = mgclip("backbones")
    assert code == 0
    assert "mgclip fetch NAME --to FOLDER" in out and "CC-BY-NC-4.0" in out
    code, out, _ = mgclip("backbones", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["iconclip"]["fetch"] is None
    assert (
        rows["google/siglip2-base-patch16-224"]["fetch"]
        == "mgclip fetch google/siglip2-base-patch16-224 --to siglip2-base-patch16-224"
    )
    assert len(rows) == len(PUBLISHED)


def parameters(model_class, config):
    with torch.device("meta"):
        return round(sum(weight.numel() for weight in model_class(config).parameters()) / 1e6)


@pytest.mark.parametrize(
    "row", [row for row in PUBLISHED if "ViT" in row.kind and "MetaCLIP 2" not in row.kind], ids=lambda row: row.name
)
def test_the_sizes_of_clip_are_those_of_its_shape(row):
    from transformers import CLIPConfig, CLIPModel

    shape = model_config(row.kind.split()[1].rstrip(",").replace("/", "-"))
    both, vision, text = {"projection_dim": shape["embed_dim"]}, shape["vision_cfg"], shape["text_cfg"]

    def tower(part, heads, ratio):
        width = part["width"]
        size = {"hidden_size": width, "num_hidden_layers": part["layers"], "num_attention_heads": heads}
        return {**both, **size, "intermediate_size": int(width * ratio)}

    image = {"image_size": row.side, "patch_size": vision["patch_size"]}
    image |= tower(vision, vision["width"] // vision["head_width"], vision["mlp_ratio"])
    config = CLIPConfig(vision_config=image, text_config=tower(text, text["heads"], 4), **both)
    assert parameters(CLIPModel, config) == pytest.approx(row.parameters, abs=1)


@pytest.mark.parametrize("row", [row for row in PUBLISHED if "SigLIP" in row.kind], ids=lambda row: row.name)
def test_the_sizes_of_siglip_are_those_of_its_shape(row):
    from transformers import SiglipConfig, SiglipModel

    width, layers, heads, mlp = (768, 12, 12, 3072) if "B/16" in row.kind else (1152, 27, 16, 4304)
    size = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": mlp}
    image = {**size, "image_size": row.side, "patch_size": int(row.kind.rpartition("/")[2])}
    text = {**size, "vocab_size": 256_000 if "SigLIP 2" in row.kind else 32_000}
    assert parameters(SiglipModel, SiglipConfig(vision_config=image, text_config=text)) == pytest.approx(row.parameters, abs=1)


def test_the_size_of_metaclip_2_is_that_of_its_shape():
    from transformers import MetaClip2Config, MetaClip2Model

    (row,) = [row for row in PUBLISHED if "MetaCLIP 2" in row.kind]
    part = {"projection_dim": 1024}
    image = {
        **part,
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "intermediate_size": 5120,
        "patch_size": 14,
    }
    text = {
        **part,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "vocab_size": 901_629,
    }
    config = MetaClip2Config(vision_config=image, text_config=text, **part)
    assert parameters(MetaClip2Model, config) == pytest.approx(row.parameters, abs=1)


def test_the_size_of_iconclip():
    backbone = load_backbone("iconclip")
    row = PUBLISHED[0]
    assert (row.name, row.side) == ("iconclip", backbone.image_size)
    assert row.parameters == round(sum(weight.numel() for weight in backbone.model.parameters()) / 1e6)
