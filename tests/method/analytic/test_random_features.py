"""Random features against the kernel that they approximate, and the median rule."""

import pytest
import torch
import torch.nn.functional as F

from mgclip.method.analytic.random_features import RandomFeatures, median_gamma

DIM, WIDTH = 8, 40


def some_features(number):
    """Normalised features of random images."""
    return F.normalize(torch.randn(number, DIM, generator=torch.Generator().manual_seed(0)), dim=-1)


def test_fourier_features_approximate_the_kernel():
    features = some_features(10)
    phi = RandomFeatures(DIM, 20_000, gamma=0.7, seed=3)(features)
    kernel = torch.exp(-0.7 * torch.cdist(features.double(), features.double()) ** 2)
    assert (phi @ phi.T - 1 - kernel).abs().max() < 0.03
    assert phi.dtype == torch.float64


def test_the_median_rule_depends_on_no_order():
    features = some_features(3000)
    shuffled = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(1))]
    assert median_gamma(features) == pytest.approx(median_gamma(shuffled), rel=1e-12)
    some = features[:300].double()
    assert median_gamma(features[:300]) == pytest.approx(2 / torch.pdist(some).square().median().item())
    assert median_gamma(features[:1]) == 1.0
    assert median_gamma(features[:1].repeat(3, 1)) == 1.0


def test_relu_features_are_those_of_a_random_layer():
    features = some_features(7)
    made = RandomFeatures(DIM, WIDTH, gamma=0.7, seed=3, kernel="relu")
    matrix = made.drawn[0] / (2 * 0.7) ** 0.5
    assert torch.equal(made(features)[:, -1], torch.ones(7).double())
    torch.testing.assert_close(made(features)[:, :-1], (2 / WIDTH) ** 0.5 * (features.double() @ matrix).clamp(min=0))
    wide = RandomFeatures(DIM, 20_000, gamma=5.0, seed=3, kernel="relu")(features)[:, :-1]
    assert wide.square().sum(1) == pytest.approx(torch.ones(7), abs=0.1)  # so the ridges fit, whatever gamma
