"""SigLIP, SigLIP 2 and MetaCLIP 2 give the features of transformers' own classes."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from small_clip import FAMILIES, make_small_family
from small_openclip import images

from mgclip.clip import family as families
from mgclip.clip.adapters import adapter_weights, attach_adapters
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError

CLOSE = 1e-5
TEXTS = ["a good photo of a bell.", "A Git Pull Request", "x", "word " * 30]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    return make_small_family(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    return make_small_family(tmp_path_factory.mktemp("siglip"), "siglip")


@torch.no_grad()
def own_features(folder):
    """What transformers computes with the classes of the family, as its documentation shows."""
    import transformers

    kind = json.loads((folder / "config.json").read_text())["model_type"]
    name, processor = (
        ("MetaClip2Model", "CLIPImageProcessorPil") if kind == "metaclip_2" else ("SiglipModel", "SiglipImageProcessorPil")
    )
    model = getattr(transformers, name).from_pretrained(folder).eval()
    process = getattr(transformers, processor).from_pretrained(folder)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    length = model.config.text_config.max_position_embeddings
    lower = [text.lower() for text in TEXTS] if kind == "siglip" else TEXTS
    ids = tokenizer(lower, padding="max_length", truncation=True, max_length=length, return_tensors="pt")["input_ids"]
    image = model.get_image_features(pixel_values=process(given(kind), return_tensors="pt")["pixel_values"]).pooler_output
    text = model.get_text_features(input_ids=ids).pooler_output
    return torch.nn.functional.normalize(image, dim=-1), torch.nn.functional.normalize(text, dim=-1)


def given(kind):
    """Images that transformers and torchvision crop alike; MetaCLIP 2 crops, and this package does as torchvision does."""
    return images()[2:] if kind == "metaclip_2" else images()


@torch.no_grad()
def deviations(backbone, folder):
    """The largest deviation of image and of text features from those of transformers. Each text is alone, so that no longer one
    decides how far it is padded.
    """
    image, text = own_features(folder)
    pixels = backbone.transform(given(backbone.model.config.model_type))
    texts = torch.cat([backbone.text_features(backbone.tokenize([each])) for each in TEXTS])
    found = backbone.image_features(pixels), texts
    return [(part - own).abs().max().item() for part, own in zip(found, (image, text), strict=True)]


def test_features_are_those_of_transformers(folder):
    backbone = load_backbone(folder)
    assert max(deviations(backbone, folder)) <= CLOSE
    assert backbone.logit_scale.shape == () and backbone.logit_scale.item() == pytest.approx(109.95, abs=0.01)
    assert backbone.feature_dim == (24 if "Meta" in type(backbone.model).__name__ else 32)
    assert not any(weight.requires_grad for weight in backbone.model.parameters())


def test_siglip_texts_have_the_full_length_and_others_only_what_they_need(folder):
    backbone = load_backbone(folder)
    siglip = backbone.model.config.model_type == "siglip"
    assert backbone.tokenize(["x"]).shape == (1, 64 if siglip else 3)
    assert backbone.tokenize(["word " * 30]).shape == (1, 64 if siglip else 40)
    assert backbone.tokenize(["word " * 30])[0, -1] == backbone.tokenizer.eos_token_id


@pytest.mark.parametrize("padding", ["longest", "left"])
def test_the_wrong_padding_would_be_noticed(siglip, padding, monkeypatch):
    backbone, expected = load_backbone(siglip), own_features(siglip)[1]
    if padding == "left":
        backbone.tokenizer.padding_side = "left"
    else:
        monkeypatch.setitem(families.FAMILIES, "siglip", replace(families.FAMILIES["siglip"], causal=True))
    with torch.no_grad():
        found = [backbone.text_features(backbone.tokenize([text]))[0] for text in TEXTS[:3]]
    assert min((mine - own).abs().max().item() for mine, own in zip(found, expected, strict=False)) > 10 * CLOSE


@pytest.mark.parametrize(("part", "value"), [("resample", 3), ("size", {"shortest_edge": 32})])
def test_the_wrong_resizing_would_be_noticed(siglip, tmp_path, part, value):
    expected = own_features(siglip)[0]
    folder = tmp_path / "clip"
    shutil.copytree(siglip, folder)
    config = json.loads((folder / "preprocessor_config.json").read_text())
    config[part] = value
    if part == "size":
        config |= {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    backbone = load_backbone(folder)
    with torch.no_grad():
        found = backbone.image_features(backbone.transform(images()))
    assert (found[0] - expected[0]).abs().max() > 10 * CLOSE


def test_the_wrong_activation_would_be_noticed(folder, tmp_path):
    changed = tmp_path / "clip"
    shutil.copytree(folder, changed)
    config = json.loads((changed / "config.json").read_text())
    for tower in ("vision_config", "text_config"):
        config[tower]["hidden_act"] = "gelu"
    (changed / "config.json").write_text(json.dumps(config))
    assert min(deviations(load_backbone(changed), folder)) > 5 * CLOSE


def test_capital_letters_do_not_matter_to_siglip(tmp_path):
    for family in ("siglip", "siglip2"):
        (tmp_path / family).mkdir()
        backbone = load_backbone(make_small_family(tmp_path / family, family))
        assert torch.equal(backbone.tokenize(["A Git"]), backbone.tokenize(["a git"]))
        backbone.tokenizer.save_pretrained(tmp_path / "again" / family)
        again = type(backbone.tokenizer).from_pretrained(tmp_path / "again" / family)
        assert again(["A"])["input_ids"] == again(["a"])["input_ids"]


PUBLISHED = {
    "siglip": {"tokenizer_class": "SiglipTokenizer", "do_lower_case": True, "sp_model_kwargs": {}},
    "siglip2": {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True, "padding_side": "right"},
    "metaclip_2": {"tokenizer_class": "XLMRobertaTokenizer"},
}
"""What the published repositories have in ``tokenizer_config.json``; the classes need other files than ``tokenizer.json``."""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_class_of_a_published_tokenizer_does_not_matter(family, tmp_path):
    expected = load_backbone(make_small_family(tmp_path, family)).tokenize(TEXTS)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, **PUBLISHED[family]}))
    assert torch.equal(load_backbone(tmp_path).tokenize(TEXTS), expected)


@pytest.mark.parametrize("projections", ["kv", "kvqo"])
def test_the_pooling_head_is_not_adapted(folder, projections):
    backbone = load_backbone(folder)
    attach_adapters(backbone, rank=2, alpha=1.0, seed=0, projections=projections)
    found = {name for name, weight in backbone.model.named_parameters() if "lora" in name}
    assert len(found) == len(list(adapter_weights(backbone))) == 2 * 2 * len(projections) * 2
    assert not [name for name in found if ".head." in name]
    assert {name for name, weight in backbone.model.named_parameters() if weight.requires_grad} == found
    assert max(deviations(backbone, folder)) <= CLOSE


def test_an_adapter_changes_both_towers(folder):
    backbone = load_backbone(folder)
    attach_adapters(backbone, rank=2, alpha=8.0, seed=0)
    with torch.no_grad():
        for name, weight in adapter_weights(backbone):
            if name.endswith(".B"):
                weight.fill_(0.5)
    assert min(deviations(backbone, folder)) > 10 * CLOSE


def test_a_model_without_a_fixed_image_size_is_refused(siglip, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(siglip, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "siglip2"}))
    with pytest.raises(InputError, match=r"is a SigLIP 2 whose images have no fixed size \(NaFlex\): choose one with a fixed"):
        load_backbone(folder)


@pytest.mark.parametrize("family", ["siglip2", "metaclip_2"])  # SigLIP pads with the same token as it ends texts
def test_a_tokenizer_that_does_not_end_texts_is_refused(family, tmp_path):
    make_small_family(tmp_path, family)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}))
    with pytest.raises(InputError, match="its tokenizer does not mark the end of a text"):
        load_backbone(tmp_path)


def test_a_tokenizer_in_another_format_is_refused(siglip, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(siglip, folder)
    (folder / "tokenizer.json").rename(folder / "spiece.model")
    with pytest.raises(InputError, match=r"has no tokenizer: expected tokenizer\.json"):
        load_backbone(folder)


def test_siglip_needs_its_own_tokenizer(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    make_small_family(folder, "siglip")
    (folder / "tokenizer.json").unlink()
    (folder / "processor_config.json").write_text("{}")  # says nothing about texts
    with pytest.raises(InputError, match=r"has no tokenizer: expected tokenizer\.json"):
        load_backbone(folder)
