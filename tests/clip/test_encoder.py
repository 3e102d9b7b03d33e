"""Cached text features follow the weights, and an encoder refuses a CLIP that serves another model."""

import pytest
import torch

from mgclip.clip import encoder as of_encoder
from mgclip.clip.adapters import (
    adapter_state,
    attach_adapters,
    idle_adapters_skipped,
    set_adapter_state,
    without_adapters,
)
from mgclip.clip.encoder import Encoder
from mgclip.clip.load import load_backbone
from mgclip.errors import MGCLIPError


@pytest.fixture
def encoder(tiny_clip):
    backbone = load_backbone(tiny_clip)
    attach_adapters(backbone, rank=2, alpha=2, seed=0)
    return Encoder(backbone, prompt="a photo of a {}.", batch_size=2)


def test_texts_are_encoded_once_until_the_adapters_change(encoder, monkeypatch):
    encoded, encode = [], encoder.backbone.text_features
    monkeypatch.setattr(encoder.backbone, "text_features", lambda tokens: encoded.append(len(tokens)) or encode(tokens))
    before = encoder.texts(["cat", "dog", "cow"])
    assert encoder.texts(["dog", "owl"])[0].tolist() == before[1].tolist()
    assert encoded == [2, 1, 1]
    torch.manual_seed(0)
    changed = {name: torch.randn(weight.shape) for name, weight in adapter_state(encoder.backbone).items()}
    set_adapter_state(encoder.backbone, changed)
    adapted = encoder.texts(["cat", "dog", "cow"])
    assert (adapted - before).abs().max() > 1e-3
    with without_adapters(encoder.backbone):
        torch.testing.assert_close(encoder.texts(["cat", "dog", "cow"]), before)
    torch.testing.assert_close(encoder.texts(["cat", "dog", "cow"]), adapted)


def test_an_encoder_refuses_a_clip_that_serves_another_model(encoder):
    attach_adapters(encoder.backbone, rank=2, alpha=2, seed=1)
    with pytest.raises(MGCLIPError, match="now carries the adapters of another model: load a separate CLIP for each model"):
        encoder.texts(["cat"])
    with pytest.raises(MGCLIPError, match="another model"):
        encoder.images(encoder.pixels([]))


TEMPLATES = ["a photo of a {}.", "a drawing of a {}, in black and white."]


def test_several_templates_are_averaged_and_cached(encoder, monkeypatch):
    backbone = encoder.backbone
    each = [Encoder(backbone, prompt=template, batch_size=2).texts(["cat", "dog", "cow"]) for template in TEMPLATES]
    encoded, model = [], backbone.model.text_model.forward
    monkeypatch.setattr(
        backbone.model.text_model, "forward", lambda **given: encoded.append(len(given["input_ids"])) or model(**given)
    )
    averaged = Encoder(backbone, prompt=TEMPLATES, batch_size=4)
    found = averaged.texts(["cat", "dog", "cow"])
    torch.testing.assert_close(found, torch.nn.functional.normalize(sum(each), dim=-1), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))
    assert encoded == [4, 2]  # one pass of a text for each class and template
    assert torch.equal(averaged.texts(["dog", "cat"]), found[[1, 0]])
    assert encoded == [4, 2]


def test_one_template_in_a_list_is_that_template(encoder):
    alone = Encoder(encoder.backbone, prompt=TEMPLATES[:1], batch_size=2)
    assert torch.equal(
        alone.texts(["cat", "dog"]), Encoder(encoder.backbone, prompt=TEMPLATES[0], batch_size=2).texts(["cat", "dog"])
    )


def test_remembered_texts_of_a_loaded_model_are_used(tiny_clip, icons, tmp_path):
    """Loading sets the adapters, which changes the weights after the encoder was made."""
    from icon_tasks import task

    from mgclip import MGCLIP

    model = MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0})
    model.learn(*task(icons, [0, 1]))
    model.save_pretrained(tmp_path / "model")
    encoder = MGCLIP.from_pretrained(tmp_path / "model").encoder
    known = torch.ones(1, encoder.backbone.feature_dim)
    encoder.remember_texts(["zebra"], known)
    assert torch.equal(encoder.texts(["zebra"]), known)


class Interrupted(Encoder):
    """An encoder of which another thread asks for other texts, right after it has cached some."""

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "_latest" and value is not None and value[0] != ("owl", "cow"):
            self.texts(["owl", "cow"])


def test_a_thread_gets_the_texts_that_it_asked_for(encoder):
    expected = encoder.texts(["cat", "dog"])
    interrupted = Interrupted(encoder.backbone, prompt="a photo of a {}.", batch_size=2)
    torch.testing.assert_close(interrupted.texts(["cat", "dog"]), expected)


def test_the_cache_of_texts_does_not_grow_for_ever(encoder, monkeypatch):
    monkeypatch.setattr(of_encoder, "KEPT_TEXTS", 3)
    classes = encoder.texts(["cat", "dog"]).clone()
    for number in range(20):
        assert torch.equal(encoder.texts(["cat", "dog", f"candidate {number}"])[:2], classes)
        assert len(encoder._texts) <= 3 + 3
    assert {"cat", "dog"} < set(encoder._texts)


def test_adapters_without_effect_are_skipped_until_the_last_thread_leaves(encoder):
    layer = encoder.backbone.model.vision_model.encoder.layers[0].self_attn.k_proj
    first, second = (idle_adapters_skipped(encoder.backbone) for _ in range(2))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert layer.disable_adapters
    second.__exit__(None, None, None)
    assert not layer.disable_adapters
