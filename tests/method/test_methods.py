"""The methods that only change settings, against their formulas, and every method through the runner."""

import functools
import json

import numpy as np
import pytest
import torch
from icon_tasks import task
from runs import read, run, stop_after
from small_clip import make_small_clip

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_state
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError
from mgclip.experiment.recipe import Recipe
from mgclip.method.baselines.make import make_learner
from mgclip.method.methods import METHODS, method_settings


def test_simplecil_is_the_nearest_class_mean(backbone, icons):
    model = make_learner("simplecil", backbone, Settings())
    for classes in ([0, 1, 2], [3, 4]):
        model.learn(*task(icons, classes))
    with torch.no_grad():
        features = model.encoder.images(model.encoder.pixels(list(icons["x_train"][:60]))).numpy()
        tests = model.encoder.images(model.encoder.pixels(list(icons["x_test"][:20]))).numpy()
    means = np.stack([features[icons["y_train"][:60] == c].mean(0) for c in range(5)])
    nearest = (tests @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).argmax(1)
    assert model.predict(list(icons["x_test"][:20])).labels.tolist() == nearest.tolist()


def test_the_alignment_loss_is_one_minus_the_cosine_of_own_pairs(tiny_clip, icons):
    settings = method_settings("align", Settings(adapter_batch_size=36, shuffle=False)).model_copy(update={"epochs": 1})
    model, losses = MGCLIP.from_pretrained(tiny_clip, settings=settings), []
    images, labels, names = task(icons, [0, 1, 2])
    features, texts = model.encoder.images(model.encoder.pixels(images)), model.encoder.texts(names)
    model.learn(images, labels, names, on_step=lambda step: losses.append(step.loss))
    cosines = [float(features[i] @ texts[y]) for i, y in enumerate(labels)]
    assert losses == [pytest.approx(1 - np.mean(cosines), abs=1e-6)]
    before = adapter_state(model.backbone)
    model.learn(*task(icons, [3]))  # a single class has a text to be pulled to
    assert any(not torch.equal(before[name], weight) for name, weight in adapter_state(model.backbone).items())


@pytest.fixture(scope="module")
def clips(tiny_clip, tmp_path_factory):
    """CLIPs by the length of a projected feature; with 32, it has the width of the image tower."""
    return {24: tiny_clip, 32: make_small_clip(tmp_path_factory.mktemp("square-clip"), dim=32)}


@pytest.fixture(scope="module")
def answers(clips, icons):
    """A learner of a method after two tasks, and its probabilities. Those of a representation are computed once."""
    quick = {"epochs": 1, "features": 64, "rapf_epochs": 1, "ranpac_width": 30, "acil_width": 30}

    @functools.cache
    def learned(method, representation, dim):
        recipe = Recipe(name="", methods=[method], representation=representation, **quick)
        learner = make_learner(method, load_backbone(clips[dim]), recipe.settings(), recipe.own)
        for classes in ([0, 1, 2], [3, 4]):
            learner.learn(*task(icons, classes))
        return learner, learner.predict(list(icons["x_test"][:20])).probabilities

    return learned


@pytest.mark.parametrize("dim", [24, 32])
@pytest.mark.parametrize("representation", ["pre-projection", "both", "auto"])
@pytest.mark.parametrize("method", METHODS)
def test_only_a_solved_head_has_another_representation(answers, method, representation, dim):
    learner, found = answers(method, representation, dim)
    if METHODS[method].changes.get("compensation") == "analytic":
        assert learner.settings.representation == representation
    else:
        assert learner.settings.representation == "projected"
        np.testing.assert_array_equal(found, answers(method, "projected", dim)[1])


RETENTION = {"icons-concepts": None}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_resumes_to_the_same_result(small, tmp_path, method):
    recipe = small.model_copy(update={"methods": [method], "retention": RETENTION if method in ("fine-tune", "rapf") else {}})
    uninterrupted = run(recipe, tmp_path / "uninterrupted")
    if METHODS[method].joint:
        assert uninterrupted[method]["tasks"] == 1
        assert uninterrupted[method]["classes"] == 6
    stop_after(1 if METHODS[method].joint else 2, recipe, tmp_path / "part")
    again = run(recipe, tmp_path / "part", resume=True)
    assert {**again[method], "seconds": 0} == {**uninterrupted[method], "seconds": 0}
    if METHODS[method].has_classifier:
        states = [next((tmp_path / r / method / "model").glob("mgclip-state-*/*.safetensors")) for r in ("part", "uninterrupted")]
        assert states[0].read_bytes() == states[1].read_bytes()
        with pytest.raises(
            InputError, match=rf"holds the method {method}, not an MGCLIP model: open it with `mgclip.load_learner`"
        ):
            MGCLIP.from_pretrained(tmp_path / "uninterrupted" / method / "model")
    else:
        assert read(tmp_path / "part", method) == read(tmp_path / "uninterrupted", method)


def test_retention_is_the_text_branch_on_other_data(small, tmp_path):
    summaries = run(
        small.model_copy(update={"methods": ["zero-shot", "fine-tune", "rapf"], "retention": RETENTION}), tmp_path / "run"
    )
    kept = {method: summary["retention"]["icons-concepts"] for method, summary in summaries.items()}
    assert kept["zero-shot"]["drop"] == 0
    for found in kept.values():
        assert found["untuned"] == kept["zero-shot"]["accuracy"]
        assert found["drop"] == pytest.approx(found["untuned"] - found["accuracy"])
    model = MGCLIP.from_pretrained(tmp_path / "run" / "fine-tune" / "model")
    from mgclip.stream.datasets import load_dataset

    data = load_dataset("icons-concepts", path=None, test_per_class=4, test_only=True)
    features = model.encoder.images(model.encoder.pixels(data.test.images))
    right = model.text_logits(features, data.class_names).argmax(1).numpy() == data.test.labels
    assert kept["fine-tune"]["accuracy"] == pytest.approx(right.mean())
    assert json.loads((tmp_path / "run" / "rapf" / "summary.json").read_text())["retention"]["icons-concepts"] == kept["rapf"]
