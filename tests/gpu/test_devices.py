"""Models and checkpoints move between the GPU and the CPU.

The limits are about twenty times what was measured on an H200: 6e-7 for a loaded model, 2.6e-5 for one that continued, and 1.6e-6
for the losses of a resumed run.
"""

from itertools import count

import pytest
import torch
from icon_tasks import month_folders
from on_device import largest, learn, learned, probabilities
from safetensors.torch import load_file

from mgclip import MGCLIP, Settings
from mgclip.saving.checkpoints import Stopped
from mgclip.saving.store import is_saved
from mgclip.workflows.learn import learn_folder
from mgclip.workflows.plan import make_plan
from mgclip.workflows.source import read_source

ANALYTIC = {"compensation": "analytic", "fusion": "calibrated", "features": 64}
KINDS = {
    "trained": {},
    "probe": {"epochs": "auto", "max_epochs": 2},
    "replay": {"memory": 12, "balanced": True},
    "solved": {**ANALYTIC, "adapt": "never"},
    "bank": {**ANALYTIC, "adapt": "always", "bank_per_class": 4},
}


@pytest.fixture(params=["GPU to CPU", "CPU to GPU"])
def way(request, device):
    return (device, torch.device("cpu"))[:: 1 if request.param == "GPU to CPU" else -1]


def tensors(folder):
    return {
        f"{file.name}/{name}": tensor
        for file in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_saved_on_one_device_continues_on_the_other(kind, way, tiny_clip, icons, tmp_path, record_property):
    first, second = way
    model, _ = learned(tiny_clip, icons, first, ((0, 1, 2),), **KINDS[kind])
    before = probabilities(model, icons)
    model.save_pretrained(tmp_path / "saved")
    model = MGCLIP.from_pretrained(tmp_path / "saved", device=second)
    assert model.backbone.device.type == second.type
    away = largest(probabilities(model, icons), before)
    record_property("loaded", away)
    assert away < 1e-5
    model.save_pretrained(tmp_path / "again")
    ours, theirs = tensors(tmp_path / "saved"), tensors(tmp_path / "again")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    learn(model, icons, ((3, 4),))
    expected, _ = learned(tiny_clip, icons, "cpu", ((0, 1, 2), (3, 4)), **KINDS[kind])
    away = largest(probabilities(model, icons), probabilities(expected, icons))
    record_property("continued", away)
    assert away < 5e-4


@pytest.mark.parametrize("stop_after", [2, 5])
def test_a_stopped_training_run_resumes_on_the_other_device(stop_after, way, tiny_clip, icons, tmp_path, record_property):
    month_folders(icons, tmp_path, {"march": (0, 1)}, 8)
    settings = Settings(epochs=3, adapter_batch_size=4, head_epochs=2, head_batch_size=4, adapter_lr=2e-3)

    def steps(model, device, stop_after=None):
        shop, made, queries = tmp_path / model, [], count(1)
        start = shop if is_saved(shop) else tiny_clip
        learner = MGCLIP.from_pretrained(start, settings=None if start == shop else settings, device=device)
        plan = make_plan(learner, read_source(tmp_path / "march"), share=0.2, seed=0)
        stop = lambda: stop_after is not None and next(queries) >= stop_after  # noqa: E731
        try:
            learn_folder(learner, shop, plan, origin="march", on_step=made.append, checkpoint_every=100, stop=stop)
        except Stopped:
            return made, None
        return made, learner

    first, second = way
    expected, reference = steps("uninterrupted", "cpu")
    made, model = steps("shop", first, stop_after)
    assert (len(made), model) == (stop_after, None)
    rest, model = steps("shop", second)
    made += rest
    assert [(s.phase, s.epoch, s.step) for s in made] == [(s.phase, s.epoch, s.step) for s in expected]
    away = largest([s.loss for s in made], [s.loss for s in expected])
    record_property("losses", away)
    assert away < 3e-5
    away = largest(probabilities(model, icons), probabilities(reference, icons))
    record_property("probabilities", away)
    assert away < 5e-4
