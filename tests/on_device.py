"""Learn the same on two devices, compare what was learned, and see which device did the work."""

import contextlib
import os
import subprocess
import sys

import torch
from icon_tasks import task

from mgclip import MGCLIP, Settings

DEVICE = os.environ.get("MGCLIP_TEST_DEVICE", "cuda")
"""The device under test. With ``cpu`` the tests themselves are tested on a machine without a GPU."""
QUICK = {"epochs": 2, "adapter_batch_size": 12, "head_batch_size": 16, "head_epochs": 2, "adapter_lr": 2e-3, "seed": 3}
TASKS = ((0, 1, 2), (3, 4))


def learned(clip, icons, device, tasks=TASKS, **changes):
    """A model that learned tasks of the icons on a device, and the losses of all steps."""
    model = MGCLIP.from_pretrained(clip, settings=Settings(**{**QUICK, **changes}), device=device)
    return model, learn(model, icons, tasks)


def learn(model, icons, tasks):
    losses = []
    for classes in tasks:
        model.learn(*task(icons, list(classes)), on_step=lambda step: losses.append(step.loss))
    return losses


def probabilities(model, icons):
    """Probabilities of all test images, on the CPU."""
    return model.probabilities(model.encoder.images(model.encoder.pixels([*icons["x_test"]]))).double().cpu()


def largest(ours, theirs):
    """The largest difference between two tensors or lists of numbers; infinite if there is a NaN."""
    ours, theirs = (torch.as_tensor(each).detach().double().cpu() for each in (ours, theirs))
    assert ours.shape == theirs.shape
    found = (ours - theirs).abs().max().item()
    return found if found == found else float("inf")


def allocations():
    """How often this process has allocated memory on the GPU."""
    return torch.cuda.memory_stats().get("allocation.all.allocated", 0) if torch.cuda.is_initialized() else 0


@contextlib.contextmanager
def working(device):
    """Check that the work inside is done on a device: a GPU allocates memory for it, or nothing does."""
    before = allocations()
    yield
    assert (allocations() > before) == (device.type == "cuda")


def launch(processes, *words):
    """Run ``python WORDS`` in processes that torchrun connects; returns the standard output."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run([*start, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
