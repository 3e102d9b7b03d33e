"""The recordings, and a small CLIP on the CPU, against the GPU."""

import contextlib

import pytest
import torch
from on_device import largest, learned, probabilities, working

from mgclip.clip import ambient
from mgclip.clip.adapters import adapter_state
from mgclip.experiment.conformance import LIMITS, conform
from mgclip.experiment.recording import EMBEDDED

# A GPU needs no limits of its own. An H200 deviates from the recordings by 4e-6, 2.4e-7, 2.9e-5 and 8e-6 (adapter loss, head loss,
# final adapter, gap), as a CPU does; with TF32 by 2e-3, 2.4e-5, 3e-3 and 2e-3.


@pytest.fixture(params=["published", "package"])
def recording(request):
    return request.getfixturevalue("golden") if request.param == "published" else EMBEDDED


def test_a_recording_is_replayed(recording, device, record_property):
    with working(device):
        result = conform(recording)
    for kind in LIMITS:
        record_property(kind, result[kind])
    assert result["ok"]
    assert result["epochs"] == (2 if recording == EMBEDDED else 3)


@pytest.fixture
def tf32(gpu):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def test_tf32_that_the_caller_allows_is_not_used(tf32):
    assert conform(EMBEDDED)["ok"]


def test_the_limits_notice_tf32(tf32, monkeypatch, record_property):
    monkeypatch.setattr(ambient, "EXACT_FLOAT32", contextlib.nullcontext())
    result = conform(EMBEDDED)
    for kind in LIMITS:
        record_property(kind, result[kind])
    assert result["adapter_loss"] > 10 * LIMITS["adapter_loss"]
    assert result["final_adapter"] > 10 * LIMITS["final_adapter"]


def test_a_small_clip_learns_as_on_the_cpu(tiny_clip, icons, device, record_property):
    reference, losses = learned(tiny_clip, icons, "cpu")
    with working(device):
        model, again = learned(tiny_clip, icons, device)
    theirs, ours = adapter_state(reference.backbone), adapter_state(model.backbone)
    found = {
        "losses": largest(again, losses),
        "adapters": max(largest(ours[name], weight) for name, weight in theirs.items()),
        "head": largest(model.head, reference.head),
        "probabilities": largest(probabilities(model, icons), probabilities(reference, icons)),
    }
    for kind, away in found.items():
        record_property(kind, away)
    assert {kind: away for kind, away in found.items() if away > 5e-5} == {}  # measured: at most 4e-6
    assert model.backbone.device.type == model.head.device.type == device.type
