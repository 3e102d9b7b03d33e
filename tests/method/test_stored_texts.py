"""Text features of many classes are stored with a model, and used only if the same ones would be computed again."""

import json
import shutil

import numpy as np
import pytest
import torch
from icon_tasks import task
from safetensors.torch import load_file, save_file

from mgclip import MGCLIP
from mgclip.clip.backbone import Backbone
from mgclip.method import stored_texts
from mgclip.method.methods import ANALYTIC


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    monkeypatch.setattr(stored_texts, "MANY", 3)


@pytest.fixture
def encoded(monkeypatch):
    """The number of texts in each pass of the text tower."""
    seen, real = [], Backbone.text_features
    monkeypatch.setattr(Backbone, "text_features", lambda backbone, tokens: seen.append(len(tokens)) or real(backbone, tokens))
    return seen


@pytest.fixture
def saved(tiny_clip, icons, tmp_path):
    model = MGCLIP.from_pretrained(tiny_clip, settings={**ANALYTIC, "features": 64})
    model.learn(*task(icons, [0, 1, 2]))
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def stored(folder):
    return next(folder.glob(f"mgclip-state-*/{stored_texts.FILE}"), None)


def predicted(folder, encoded, images):
    """The confidences of a loaded model, and how many texts it encodes for them."""
    model = MGCLIP.from_pretrained(folder)
    encoded.clear()
    return model.predict(images).confidence, sum(encoded)


def test_a_loaded_model_does_not_encode_its_texts_again(saved, icons, encoded):
    images = list(icons["x_test"][:8])
    found, number = predicted(saved, encoded, images)
    assert number == 0
    stored(saved).unlink()
    wanted, number = predicted(saved, encoded, images)
    assert number == 3
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("change", ["prompt", "text", "order", "precision", "features", "adapter", "truncated", "other shape"])
def test_what_belongs_to_something_else_or_is_damaged_is_not_used(saved, icons, encoded, change):
    file = stored(saved)
    if change in ("prompt", "text", "order", "precision"):
        for manifest in (saved / "mgclip.json", file.parent / "mgclip.json"):
            about = json.loads(manifest.read_text())
            if change == "text":
                about["class_texts"][1] = "something else"
            elif change == "order":
                about["class_texts"].reverse()
            else:
                about["settings"][change] = {"prompt": "a drawing of a {}.", "precision": "bfloat16"}[change]
            manifest.write_text(json.dumps(about))
    elif change == "adapter":
        adapter = file.parent / "adapter" / "adapter_model.safetensors"
        save_file({name: weight + 0.1 for name, weight in load_file(adapter).items()}, adapter, {"format": "pt"})
    elif change == "truncated":
        file.write_bytes(file.read_bytes()[:-7])
    else:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        if change == "other shape":
            save_file({"features": torch.ones(2, 5)}, file)
    images = list(icons["x_test"][:8])
    found, number = predicted(saved, encoded, images)
    assert number == 3
    file.unlink()
    np.testing.assert_array_equal(found, predicted(saved, encoded, images)[0])


def test_the_texts_of_another_clip_are_not_used(saved, icons, encoded):
    """The digest names the weights."""
    model = MGCLIP.from_pretrained(saved)
    model.backbone.fingerprint = "0" * 32
    model.encoder._texts, model.encoder._latest = {}, None
    encoded.clear()
    stored_texts.recall(stored(saved).parent, model.encoder, model.class_texts)
    model.predict(list(icons["x_test"][:8]))
    assert sum(encoded) == 3


def test_an_edit_encodes_and_stores_only_what_is_new(saved, icons, encoded):
    model = MGCLIP.from_pretrained(saved)
    encoded.clear()
    model.relabel(model.class_names[0], "a new name")
    model.save_pretrained(saved)
    assert sum(encoded) == 1
    _, number = predicted(saved, encoded, list(icons["x_test"][:8]))
    assert number == 0


def test_a_model_of_few_classes_stores_none_and_needs_none(saved, icons, encoded, monkeypatch):
    monkeypatch.setattr(stored_texts, "MANY", 4)
    model = MGCLIP.from_pretrained(saved)
    model.save_pretrained(saved)
    assert stored(saved) is None
    shutil.rmtree(saved)
    model.save_pretrained(saved)
    assert predicted(saved, encoded, list(icons["x_test"][:8]))[1] == 3


def test_texts_that_were_not_needed_are_not_encoded_to_be_stored(tiny_clip, icons, encoded, tmp_path):
    model = MGCLIP.from_pretrained(tiny_clip, settings={"epochs": 0, "branches": "image"})
    model.learn(*task(icons, [0, 1, 2]))
    encoded.clear()
    model.save_pretrained(tmp_path / "model")
    assert encoded == [] and stored(tmp_path / "model") is None
