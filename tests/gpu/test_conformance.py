"""The recordings, and a small CLIP on the CPU, against the GPU."""

import pytest
import torch
from on_device import largest, learned, probabilities, working

from mgclip.clip.adapters import adapter_state
from mgclip.experiment.conformance import LIMITS, conform
from mgclip.experiment.recording import EMBEDDED

# A GPU adds in another order than the processor that made the recordings, and a training run carries each rounding error on. Ten
# times the limits of a CPU leave room for that, and are far below the error of TF32, which rounds factors to 10 bits.
GPU_LIMITS = {kind: 10 * limit for kind, limit in LIMITS.items()}


@pytest.fixture(params=["published", "package"])
def recording(request):
    return request.getfixturevalue("golden") if request.param == "published" else EMBEDDED


def test_a_recording_is_replayed(recording, device, record_property):
    with working(device):
        result = conform(recording)
    for kind, limit in GPU_LIMITS.items():
        record_property(kind, result[kind])
        assert result[kind] <= limit
    assert result["predictions_equal"] == 1.0
    assert result["epochs"] == (2 if recording == EMBEDDED else 3)


def test_the_limits_notice_tf32(gpu, monkeypatch, record_property):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    result = conform(EMBEDDED)
    for kind in GPU_LIMITS:
        record_property(kind, result[kind])
    assert result["adapter_loss"] > GPU_LIMITS["adapter_loss"]
    assert result["final_adapter"] > GPU_LIMITS["final_adapter"]


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
    assert {kind: away for kind, away in found.items() if away > 1e-3} == {}
    assert found["losses"] < 1e-4 or losses == again
    assert model.backbone.device.type == model.head.device.type == device.type
