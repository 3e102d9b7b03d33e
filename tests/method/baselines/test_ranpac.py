"""RanPAC, against its formulas computed plainly."""

import numpy as np
import pytest
import torch
from learned import feature_tasks

from mgclip import Settings
from mgclip.clip.load import load_backbone
from mgclip.method.baselines import ranpac
from mgclip.method.baselines.feature_classifier import FeatureTask
from mgclip.method.baselines.ranpac import RIDGES, RanPAC
from mgclip.method.baselines.settings import RanPACSettings


@pytest.mark.parametrize("per_class", [4, 60])  # fewer samples than M, and more
def test_ranpac_is_ridge_regression_on_random_projections(backbone, per_class):
    model = RanPAC(backbone, Settings(seed=3, shuffle=False), RanPACSettings(width=50))
    projection = model.projection.numpy()
    assert projection.shape == (backbone.feature_dim, 50)
    assert abs(projection.std() - 1) < 0.1
    hidden, wanted = [], []
    for part in feature_tasks(backbone.feature_dim, [3, 2], per_class):
        model.learn(part, lambda step: None)
        h = np.maximum(part.features.numpy().astype(np.float64) @ projection, 0)
        y = np.eye(5)[part.labels.numpy()]
        cut = int(0.8 * len(h))
        errors = []
        for ridge in RIDGES:
            w = np.linalg.solve(h[:cut].T @ h[:cut] + ridge * np.eye(50), h[:cut].T @ y[:cut])
            errors.append(((h[cut:] @ w - y[cut:]) ** 2).mean())
        # Below the precision of double sums a smaller ridge changes nothing that a plain solve could tell apart.
        chosen = model.choose_ridge(part.features, torch.tensor(y[:, part.first : len(part.texts)]))
        assert errors[RIDGES.index(chosen)] <= min(errors) * 1.001 + 1e-9
        hidden, wanted = [*hidden, h], [*wanted, y]
        h, y = np.concatenate(hidden), np.concatenate(wanted)
        w = np.linalg.solve(h.T @ h + chosen * np.eye(50), h.T @ y)
        scores = model.scores(part.features, part.texts).numpy()
        np.testing.assert_allclose(scores, (hidden[-1] @ w)[:, : len(part.texts)], rtol=1e-4, atol=1e-4)
    assert len(RIDGES) == 17
    assert (RIDGES[0], RIDGES[-1]) == (1e-8, 1e8)


def test_of_a_single_sample_no_ridge_can_be_chosen(backbone):
    model = RanPAC(backbone, Settings(), RanPACSettings(width=20))
    sample, label = torch.randn(1, backbone.feature_dim, generator=torch.Generator().manual_seed(0)), torch.ones(1, 1).double()
    assert [model.choose_ridge(sample, label, least=least) for least in (0.0, 0.5, 7.0)] == [1, 1, 7]


def test_ranpac_uses_no_ridge_that_single_precision_cannot_resolve(monkeypatch):
    """On icons, the smallest ridges sometimes look best on the samples of a task, and fail if there are M samples or more."""
    from mgclip.clip.encoder import Encoder
    from mgclip.stream import icons

    backbone = load_backbone("iconclip")
    encoder = Encoder(backbone, prompt="a photo of a {}.", batch_size=256, normalise=False)
    train, test = icons.load(20, 4)
    known, seen = np.arange(80).repeat(20), torch.arange(80).repeat_interleave(4)
    features = encoder.images(encoder.pixels([train[i] for i in range(1600)]))
    tests = encoder.images(encoder.pixels([test[i] for i in range(320)]))
    texts, labels = torch.randn(80, backbone.feature_dim), torch.from_numpy(known)

    def learn():
        model, chosen = RanPAC(backbone, Settings(), RanPACSettings(width=2000)), []
        real = model.choose_ridge
        model.choose_ridge = lambda *given, **options: chosen.append(real(*given, **options)) or chosen[-1]
        for first in range(0, 80, 10):
            own = (labels >= first) & (labels < first + 10)
            part = FeatureTask(first // 10, first, features[own], labels[own], texts[: first + 10])
            model.learn(part, lambda step: None)
        assert torch.isfinite(model.weights).all()
        return (model.scores(tests, texts).argmax(1) == seen).float().mean().item(), chosen, model.gram

    accuracy, chosen, gram = learn()
    assert accuracy > 0.9
    assert min(chosen) >= 10
    assert 10 < ranpac.least_ridge(gram) < 1000
    monkeypatch.setattr(ranpac, "least_ridge", lambda gram: 0.0)
    worse, chosen, _ = learn()
    assert min(chosen) < 1e-3
    assert worse < accuracy - 0.05


def test_ranpac_does_not_depend_on_the_order_of_tasks(backbone):
    joint, parts = (RanPAC(backbone, Settings(), RanPACSettings(width=40)) for _ in range(2))
    one = feature_tasks(backbone.feature_dim, [4], 30)[0]
    joint.learn(one, lambda step: None)
    for index, (low, high) in enumerate(((0, 1), (1, 4))):
        mine = (one.labels >= low) & (one.labels < high)
        part = FeatureTask(index, low, one.features[mine], one.labels[mine], one.texts[:high])
        parts.learn(part, lambda step: None)
    torch.testing.assert_close(joint.gram, parts.gram)
    torch.testing.assert_close(joint.targets, parts.targets)
