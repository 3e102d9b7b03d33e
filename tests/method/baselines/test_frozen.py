"""Learners of a frozen CLIP: what they adapt first, and which files they refuse."""

import json

import pytest
import torch
from icon_tasks import task
from runs import run

from mgclip.clip.adapters import adapter_state
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError
from mgclip.method.baselines.make import load_learner, make_learner


def test_the_files_of_another_method_are_refused(small, tmp_path):
    run(small.model_copy(update={"methods": ["rapf"], "tasks": 1}), tmp_path / "run")
    backbone = load_backbone(small.clip)
    with pytest.raises(InputError, match="holds the method rapf, not ranpac"):
        make_learner("ranpac", backbone, small.settings(), small.own, tmp_path / "run" / "rapf" / "model")


def test_ranpac_trains_the_adapters_of_the_recipe_on_the_first_task_only(small, icons):
    settings = small.settings().model_copy(update={"epochs": 2, "projections": "kvqo", "adapter_lr": 1e-2})
    backbone = load_backbone(small.clip)
    learner = make_learner("ranpac", backbone, settings, small.own)
    start = adapter_state(backbone)
    assert {name.split(".")[2] for name in start} == {"k", "v", "q", "o"}
    assert learner.learn(*task(icons, [0, 1, 2])).epochs == 2
    first = adapter_state(backbone)
    assert any(not torch.equal(first[name], start[name]) for name in start)
    assert learner.learn(*task(icons, [3, 4])).epochs == 0
    assert learner.epochs == 2
    assert all(torch.equal(weight, first[name]) for name, weight in adapter_state(backbone).items())
    bare = make_learner("ranpac", backbone, settings, {**small.own, "ranpac_first_task_adapter": False})
    bare.learn(*task(icons, [0, 1, 2]))
    assert all(torch.equal(weight, start[name]) for name, weight in adapter_state(backbone).items())


METHODS_OF_THEIR_OWN = ["ranpac", "acil", "rapf"]


@pytest.mark.parametrize("method", METHODS_OF_THEIR_OWN)
def test_a_mode_of_the_caller_changes_no_result(small, icons, method, tmp_path):
    def learned():
        learner = make_learner(method, load_backbone(small.clip), small.settings(), small.own)
        learner.learn(*task(icons, [0, 1, 2]))
        return learner.predict(list(icons["x_test"][:6])).head_scores, learner

    expected, learner = learned()
    learner.save_pretrained(tmp_path / "model")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            found, _ = learned()
            loaded = load_learner(tmp_path / "model", base=small.clip)
            again = loaded.predict(list(icons["x_test"][:6])).head_scores
    finally:
        torch.set_default_dtype(torch.float32)
    assert (found == expected).all()
    assert (again == expected).all()


@pytest.mark.parametrize("method", METHODS_OF_THEIR_OWN)
def test_features_that_are_not_finite_are_refused(small, icons, monkeypatch, method):
    learner = make_learner(method, load_backbone(small.clip), small.settings(), small.own)
    real = learner.encoder.images
    monkeypatch.setattr(learner.encoder, "images", lambda *images, **options: real(*images, **options) * float("nan"))
    with pytest.raises(InputError, match="gives NaN or infinite features"):
        learner.learn(*task(icons, [0, 1, 2]))
    assert learner.class_names == ()


def test_a_loaded_model_learns_known_classes_only(small, icons, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    learner = make_learner("acil", load_backbone(small.clip), small.settings(), small.own)
    learner.learn(*task(icons, [0, 1, 2]))
    learner.save_pretrained("~/model")
    loaded = load_learner("~/model", base=small.clip)
    images, _, names = task(icons, [0, 1, 2])
    loaded.learn(images[:4], [0] * 4, names[:1])
    assert (loaded.task_sizes, len(loaded.class_names)) == ((3, 0), 3)
    loaded.save_pretrained("~/model")
    assert load_learner("~/model", base=small.clip).task_sizes == (3, 0)


def test_a_device_that_is_not_there_is_refused(small, icons, tmp_path):
    learner = make_learner("acil", load_backbone(small.clip), small.settings(), small.own)
    learner.learn(*task(icons, [0, 1, 2]))
    learner.save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="The device 'cuda:99' cannot be used on this machine"):
        load_learner(tmp_path / "model", base=small.clip, device="cuda:99")


@pytest.mark.parametrize(("key", "value"), [("task_sizes", [2]), ("task_sizes", ["a"]), ("class_texts", ["only one"])])
def test_a_manifest_whose_parts_do_not_fit_is_damaged(small, icons, tmp_path, key, value):
    learner = make_learner("acil", load_backbone(small.clip), small.settings(), small.own)
    learner.learn(*task(icons, [0, 1, 2]))
    learner.save_pretrained(tmp_path / "model")
    for file in tmp_path.rglob("mgclip.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(InputError, match=r"mgclip\.json"):
        load_learner(tmp_path / "model", base=small.clip)
