"""The solved head, which computes in double precision, equals that of the CPU."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from on_device import largest, learned, probabilities

from mgclip.method.analytic import solved_head
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.random_features import RandomFeatures
from mgclip.method.analytic.solved_head import SolvedHead

DIM, CLASSES, PER_CLASS = 48, 30, 20


def images(first, last, device):
    generator = torch.Generator().manual_seed(last)
    centres = F.normalize(torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(0)), dim=-1)
    labels = torch.arange(first, last).repeat_interleave(PER_CLASS)
    features = F.normalize(centres[labels] + 0.15 * torch.randn(len(labels), DIM, generator=generator), dim=-1)
    return Images(torch.randint(-(2**62), 2**62, (len(labels),), generator=generator), labels, features).to(device)


def text_logits(classes, device):
    rows = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(5))[:classes].to(device)
    return lambda features: 10 * features.float() @ rows.T


def filled(device, *, kernel="fourier", per_class=0):
    head = SolvedHead.empty(RandomFeatures(DIM, 512, 0.8, 2, kernel), device, per_class=per_class)
    for first, last in ((0, 18), (18, CLASSES), (0, 9)):  # new classes twice, then more images of known ones
        head = solved_head.add(
            head, images(first, last, device), text_logits(max(last, 0 if first == 0 and last == 18 else CLASSES), device)
        )
    return head


@pytest.mark.parametrize(("kernel", "per_class"), [("fourier", 0), ("relu", 0), ("fourier", 6)])
def test_sums_ridge_weights_and_calibration_are_those_of_the_cpu(kernel, per_class, device, record_property):
    expected, found = (filled(each, kernel=kernel, per_class=per_class) for each in (torch.device("cpu"), device))
    assert found.weights.device.type == device.type
    assert found.weights.dtype == torch.float64
    away = largest(found.weights, expected.weights) / expected.weights.abs().max().item()
    record_property("weights", away)
    assert away < 1e-11  # measured: at most 1.1e-13
    assert found.ridge == pytest.approx(expected.ridge, rel=1e-9)
    for part in ("head", "text", "deviation", "accuracy", "head_accuracy", "text_accuracy", "likeness"):
        assert getattr(found.calibration, part) == pytest.approx(getattr(expected.calibration, part), rel=1e-5)
    queries = images(0, CLASSES, device).features
    scores = largest(found.scores(queries), expected.scores(queries.cpu()))
    record_property("scores", scores)
    assert scores < 1e-5  # measured: at most 5e-7


def test_a_float32_head_would_be_noticed(device):
    """The tolerance above is far below what single precision gives."""
    head = filled(device)
    gram, targets = head.sums.gram.float().double(), head.sums.targets.float().double()
    rough = solved_head.resolved(replace(head, sums=replace(head.sums, gram=gram, targets=targets)), text_logits(CLASSES, device))
    assert largest(rough.weights, head.weights) / head.weights.abs().max().item() > 1e-11


@pytest.mark.parametrize("adapt", ["never", "always", "auto"])
def test_a_model_with_a_solved_head_gives_the_answers_of_the_cpu(adapt, tiny_clip, icons, device, record_property):
    changes = {"compensation": "analytic", "fusion": "calibrated", "adapt": adapt, "features": 64, "bank_per_class": 4}
    expected, _ = learned(tiny_clip, icons, "cpu", **changes)
    found, _ = learned(tiny_clip, icons, device, **changes)
    away = largest(probabilities(found, icons), probabilities(expected, icons))
    record_property("probabilities", away)
    assert away < 1e-5  # measured: at most 3e-7
    ours, theirs = (model.predict([*icons["x_test"]]) for model in (found, expected))
    assert ours.names == theirs.names
    assert ours.likeness == pytest.approx(theirs.likeness, abs=1e-4)
