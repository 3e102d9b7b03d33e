"""RAPF, against its formulas and a second training loop."""

import numpy as np
import pytest
import torch
from learned import feature_tasks

from mgclip import Settings
from mgclip.method.baselines.rapf import (
    RAPF,
    covariance,
    fuse_adapters,
    hard_pairs,
    hinge,
    initial_adapter,
    sampling_factor,
)
from mgclip.method.baselines.settings import RAPFSettings


def test_rapf_parts_follow_their_formulas():
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(6, 6)), rng.normal(size=(6, 6))
    u, s, v = np.linalg.svd(old)
    p, sv = u.T @ new, np.diag(s) @ v
    m = np.abs(p - sv)
    m = np.minimum(1, m / m.max() + 0.6)
    fused = fuse_adapters(torch.tensor(old), torch.tensor(new), bias=0.6).numpy()
    np.testing.assert_allclose(fused, u @ (p * m + sv * (1 - m)), atol=1e-10)
    np.testing.assert_allclose(fuse_adapters(torch.tensor(old), torch.tensor(new), bias=1.0).numpy(), new, atol=1e-10)

    x = rng.normal(size=(9, 4))
    plain = np.cov(x.T) + 1e-4 * np.eye(4)
    np.testing.assert_allclose(covariance(torch.tensor(x)).numpy(), plain, atol=1e-8)
    off = plain[~np.eye(4, dtype=bool)]
    shrunk = plain + np.diag(plain).mean() * np.eye(4) + off[off != 0].mean() * (1 - np.eye(4))
    for shrink, expected in ((False, plain), (True, shrunk)):
        factor = sampling_factor(torch.tensor(plain), shrink=shrink).numpy()
        np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-8)
    assert torch.equal(covariance(torch.ones(1, 3)), 1e-4 * torch.eye(3))
    broken = torch.diag(torch.tensor([1.0, -1e-3]))
    np.testing.assert_allclose((lambda f: f @ f.T)(sampling_factor(broken, shrink=False)), [[1, 0], [0, 0]], atol=1e-6)

    texts = torch.nn.functional.normalize(torch.tensor(rng.normal(size=(7, 3))), dim=-1)
    pairs = [[i, j] for i in range(4) for j in range(4, 7) if (texts[i] - texts[j]).norm() < 1.0]
    assert pairs
    assert hard_pairs(texts, 4, 1.0).tolist() == pairs
    units = torch.nn.functional.normalize(torch.tensor(rng.normal(size=(len(pairs), 3))), dim=-1)
    terms = [max(0.0, float(-w @ texts[i] + w @ texts[j]) + 0.1) for w, (i, j) in zip(units, pairs, strict=True)]
    assert hinge(units, texts[torch.tensor(pairs)]).item() == pytest.approx(np.mean(terms))


def test_rapf_starts_as_a_linear_layer_does_or_as_the_identity(backbone):
    width = 256
    found = initial_adapter(width, "default", 3)
    layer = torch.nn.Linear(width, width, bias=False).weight
    bound = width**-0.5
    assert found.shape == layer.shape
    for weight in (found, layer.detach()):  # uniform in the same bounds
        assert 0.99 * bound < weight.abs().max() <= bound
        assert abs(weight.mean()) < 0.02 * bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert torch.equal(found, initial_adapter(width, "default", 3))
    assert not torch.equal(found, initial_adapter(width, "default", 4))
    assert torch.equal(initial_adapter(width, "identity", 3), torch.eye(width))
    fresh = RAPF(backbone, Settings(seed=3), RAPFSettings())
    assert torch.equal(fresh.adapter, initial_adapter(backbone.feature_dim, "default", 3))
    assert torch.equal(RAPF(backbone, Settings(), RAPFSettings(init="identity")).adapter, torch.eye(backbone.feature_dim))


def shrunk(covariance):
    """A covariance plus the means of its diagonal and of its other values."""
    other = ~torch.eye(len(covariance), dtype=torch.bool)
    return covariance + torch.where(other, covariance[other].mean(), covariance.diagonal().mean())


@pytest.mark.parametrize(("tau", "beta", "bias"), [(0.0, 1, 0.6), (1.5, 1, 0.3), (1.5, 0.75, 0.6)])
@pytest.mark.parametrize(("init", "shrinkage"), [("default", False), ("identity", True)])
def test_rapf_trains_as_defined(backbone, tau, beta, bias, init, shrinkage):
    """A second training loop, written out, draws from the same generator. The rate falls after 4 and after 10 epochs."""
    peers = RAPFSettings(epochs=12, batch_size=7, tau=tau, old_classes=2, beta=beta, init=init, bias=bias, shrinkage=shrinkage)
    of_class, of_pair = int(10 * beta), int(20 * beta)
    settings = Settings(seed=5, shuffle=False)
    model = RAPF(backbone, settings, peers)
    width, scale = backbone.feature_dim, backbone.logit_scale.item()
    adapter, means, covs = initial_adapter(width, init, 5), {}, {}
    for part in feature_tasks(width, [3, 2], 5):
        losses, reported = [], []
        model.learn(part, lambda step, reported=reported: reported.append(step.loss))
        before, a = adapter, adapter.clone().requires_grad_()
        g = torch.Generator().manual_seed(int(np.random.default_rng([5, part.index]).integers(2**62)))
        optimizer = torch.optim.Adam([a], lr=1e-3)
        pairs = [
            (i, j) for i in range(part.first) for j in range(part.first, len(part.texts))
            if (part.texts[i] - part.texts[j]).norm() < tau
        ]  # fmt: skip
        factors = [torch.linalg.cholesky(shrunk(covs[c]) if shrinkage else covs[c]) for c in range(part.first)]
        for epoch in range(12):
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * 0.1 ** sum(epoch >= m for m in (4, 10))
            walk = torch.randperm(part.first, generator=g).tolist()
            for batch, start in enumerate(range(0, len(part.labels), 7)):
                x, y = list(part.features[start : start + 7]), part.labels[start : start + 7].tolist()
                if part.first:
                    olds = sorted({walk[(2 * batch + k) % part.first] for k in range(2)})
                    noise = torch.randn(len(olds), of_class, width, generator=g)
                    for c, z in zip(olds, noise, strict=True):
                        x += list(means[c] + z @ factors[c].T)
                        y += [c] * of_class
                f = torch.stack(x) @ a.T
                logits = scale * (f / f.norm(dim=1, keepdim=True)) @ part.texts.T
                loss = torch.nn.functional.cross_entropy(logits, torch.tensor(y))
                if pairs:
                    noise, terms = torch.randn(len(pairs), of_pair, width, generator=g), []
                    for (i, j), z in zip(pairs, noise, strict=True):
                        f = (means[i] + z @ factors[i].T) @ a.T
                        f = f / f.norm(dim=1, keepdim=True)
                        terms.append(torch.relu(-f @ part.texts[i] + f @ part.texts[j] + 0.1))
                    loss = loss + torch.cat(terms).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        adapter = a.detach()
        if part.first:
            adapter = fuse_adapters(before, adapter, bias=bias)
        for c in range(part.first, len(part.texts)):
            own = part.features[part.labels == c]
            means[c], covs[c] = own.mean(0), torch.cov(own.T) + 1e-4 * torch.eye(width)
        np.testing.assert_allclose(reported, losses, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.adapter, adapter, rtol=1e-3, atol=1e-4)
    assert (tau > 0) == bool(pairs)
    assert len(model.means) == 5
