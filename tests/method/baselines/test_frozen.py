"""Learners of a frozen CLIP: what they adapt first, and which files they refuse."""

import pytest
import torch
from icon_tasks import task
from runs import run

from mgclip.clip.adapters import adapter_state
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError
from mgclip.method.baselines.make import make_learner


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
