"""Every method gives nearly the answers of the CPU."""

import pytest
import torch
from icon_tasks import task
from on_device import QUICK, TASKS, largest, probabilities, working

from mgclip import Settings
from mgclip.clip.load import load_backbone
from mgclip.method.baselines.make import make_learner
from mgclip.method.methods import METHODS

OWN = {"ranpac_width": 32, "ranpac_first_task_adapter": True, "rapf_epochs": 3, "rapf_tau": 1.0}


def answers(method, clip, icons, device):
    changes = {"memory": 10, "balanced": True} if METHODS[method].replays else {}
    settings = Settings(**{**QUICK, "features": 64, **changes})
    learner = make_learner(method, load_backbone(clip, device), settings, OWN)
    for classes in TASKS:
        learner.learn(*task(icons, list(classes)))
    return probabilities(learner, icons)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_nearly_the_answers_of_the_cpu(method, tiny_clip, icons, device, record_property):
    expected = answers(method, tiny_clip, icons, torch.device("cpu"))
    with working(device):
        found = answers(method, tiny_clip, icons, device)
    away = largest(found, expected)
    record_property("probabilities", away)
    assert away < 5e-5  # measured: at most 3e-6
    best = expected.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > 1e-4  # a difference within the tolerance may decide the others
    assert clear.float().mean() > 0.5
    assert torch.equal(found.argmax(1)[clear], expected.argmax(1)[clear])
