"""Every method, the exports, the gap study and the estimates work with every family of CLIP."""

import re
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
import torch
from icon_tasks import task
from openai_clip import published_state, small_openai_clip
from PIL import Image
from small_clip import FAMILIES, make_small_family
from small_openclip import make_folder

from mgclip import MGCLIP, Settings
from mgclip.clip.load import load_backbone
from mgclip.experiment.gap_study import Study, load_sample
from mgclip.export.folder import export_folder
from mgclip.method.baselines.make import make_learner
from mgclip.method.methods import METHODS

QUICK = {"epochs": 1, "head_epochs": 1, "adapter_batch_size": 12, "head_batch_size": 12, "features": 64}


LIKE_OTHERS = ("siglip2", "metaclip_2", "openai")
"""Families whose path through the package is that of SigLIP or CLIP: in the slow tests. tests/clip compares all of them."""


def marked(family):
    return pytest.param(family, marks=[pytest.mark.slow] if family in LIKE_OTHERS else [])


@pytest.fixture(scope="module", params=[marked(family) for family in (*FAMILIES, "openclip", "openai")])
def clip(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "openai":
        torch.save(published_state(small_openai_clip()), folder / "ViT-tiny.pt")
        return folder / "ViT-tiny.pt"
    return make_folder(folder, "quickgelu-squash") if request.param == "openclip" else make_small_family(folder, request.param)


def learned(clip, icons, **changes):
    model = MGCLIP.from_pretrained(clip, settings=Settings(**{**QUICK, **changes}))
    for classes in ((0, 1, 2), (3, 4)):
        model.learn(*task(icons, classes))
    return model


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_two_tasks(clip, icons, method):
    changes = {"memory": 10} if METHODS[method].replays else {}
    learner = make_learner(method, load_backbone(clip), Settings(**QUICK, **changes), {"ranpac_width": 32, "acil_width": 32})
    for classes in ((0, 1, 2), (3, 4)):
        learner.learn(*task(icons, classes))
    features = learner.encoder.images(learner.encoder.pixels([*icons["x_test"][:8]]))
    assert learner.probabilities(features).shape == (8, 5)


def test_a_saved_model_predicts_the_same(clip, icons, tmp_path):
    model = learned(clip, icons, epochs="auto", max_epochs=2)
    model.save_pretrained(tmp_path / "saved")
    images = [*icons["x_test"][:8]]
    again = MGCLIP.from_pretrained(tmp_path / "saved")
    assert np.array_equal(again.predict(images).probabilities, model.predict(images).probabilities)


@pytest.mark.parametrize("solved", [False, True])
def test_exports_give_the_answers_of_the_model(clip, icons, tmp_path, solved, monkeypatch):
    pytest.importorskip("onnxruntime")
    changes = {"compensation": "analytic", "fusion": "calibrated", "adapt": "never"} if solved else {"projections": "kvqo"}
    model = learned(clip, icons, **changes)
    exported = export_folder(model, tmp_path / "clip", onnx=True)
    assert exported.deviation < 1e-5 and exported.onnx_deviation < 1e-5
    image = Image.fromarray(icons["x_test"][17]).resize((61, 61))
    image.save(tmp_path / "clip" / "image.png")
    expected = model.predict([image])
    monkeypatch.chdir(tmp_path / "clip")
    for program in re.findall(r"^```python\n(.*?)^```", (tmp_path / "clip" / "README.md").read_text(), re.M | re.S):
        with redirect_stdout(StringIO()) as printed:
            exec(compile(program, "card", "exec"), {})
        assert printed.getvalue().startswith(f"{expected.names[0]} ")
    again = MGCLIP.from_pretrained(tmp_path / "clip")
    texts = model.encoder.texts(model.class_texts)
    torch.testing.assert_close(again.encoder.texts(model.class_texts), texts, rtol=0, atol=1e-5)


def test_the_gap_is_measured_and_tracked(clip):
    sample = load_sample("icons100", None, classes=4, per_class=4, train=True)
    study = Study(MGCLIP.from_pretrained(clip, settings=Settings(adapter_batch_size=150)), sample)
    initial = study.measure()
    assert -1 <= initial.negative <= 1 and initial.logit_scale > 50
    trace = study.track("cross-entropy", epochs=1, points=2)
    assert trace.points[0] == initial and trace.points[-1] != initial


@pytest.mark.parametrize("options", [("--estimate",), ("--rounds", 1, "--images", 2, "--tasks", 2, "--json")])
@pytest.mark.slow
def test_the_shape_of_siglip_is_measured(mgclip, options):
    code, out, err = mgclip("bench", "--shape", "siglip-b-16", *options)
    assert (code, err) == (0, "") and out


def test_several_templates_are_learned_saved_and_exported(tiny_clip, icons, tmp_path):
    prompts = ["a photo of a {}.", "an icon of a {}."]
    model = learned(tiny_clip, icons, prompt=prompts)
    model.save_pretrained(tmp_path / "saved")
    again = MGCLIP.from_pretrained(tmp_path / "saved")
    images = [*icons["x_test"][:8]]
    assert again.settings.prompt == prompts
    assert np.array_equal(again.predict(images).probabilities, model.predict(images).probabilities)
    one = MGCLIP.from_pretrained(tiny_clip, settings=Settings(prompt=prompts[0]))
    both = MGCLIP.from_pretrained(tiny_clip, settings=Settings(prompt=prompts))
    assert not torch.equal(one.encoder.texts(["bell"]), both.encoder.texts(["bell"]))
    assert export_folder(model, tmp_path / "clip").deviation < 1e-5
    card = (tmp_path / "clip" / "README.md").read_text()
    assert '"a photo of a {}.", "an icon of a {}." (the mean of these)' in card
