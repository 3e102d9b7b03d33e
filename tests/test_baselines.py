"""The baselines, each against its defining formula computed plainly, and all of them through the runner."""

import json

import numpy as np
import pytest
import torch
from conftest import task
from runs import read, run

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_state
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError
from mgclip.experiment.recipe import Recipe
from mgclip.method.baselines import ranpac
from mgclip.method.baselines.features import FeatureTask
from mgclip.method.baselines.make import make_learner
from mgclip.method.baselines.ranpac import RIDGES, RanPAC
from mgclip.method.baselines.rapf import (
    RAPF,
    covariance,
    fuse_adapters,
    hard_pairs,
    hinge,
    initial_adapter,
    sampling_factor,
)
from mgclip.method.baselines.settings import BaselineSettings
from mgclip.method.baselines.table import METHODS, method_settings


@pytest.fixture
def backbone(tiny_clip):
    return load_backbone(tiny_clip)


def feature_tasks(width, sizes, per_class, seed=0, spread=0.5):
    """Gaussian classes as feature tasks, with unit texts near their means."""
    rng = torch.Generator().manual_seed(seed)
    means = torch.randn(sum(sizes), width, generator=rng)
    texts = torch.nn.functional.normalize(means + 0.3 * torch.randn(means.shape, generator=rng), dim=-1)
    tasks, first = [], 0
    for index, size in enumerate(sizes):
        labels = torch.arange(first, first + size).repeat(per_class)
        features = means[labels] + spread * torch.randn(len(labels), width, generator=rng)
        tasks.append(FeatureTask(index, first, features, labels, texts[: first + size]))
        first += size
    return tasks


@pytest.mark.parametrize("per_class", [4, 60])  # fewer samples than M, and more
def test_ranpac_is_ridge_regression_on_random_projections(backbone, per_class):
    model = RanPAC(backbone, Settings(seed=3, shuffle=False), BaselineSettings(ranpac_width=50))
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


def test_ranpac_takes_no_ridge_that_its_sums_drown(monkeypatch):
    """On icons, the smallest ridges sometimes look best on a task's own samples, and fail where samples reach M in number."""
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
        model, chosen = RanPAC(backbone, Settings(), BaselineSettings(ranpac_width=2000)), []
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


def test_ranpac_does_not_depend_on_how_classes_come(backbone):
    whole, parts = (RanPAC(backbone, Settings(), BaselineSettings(ranpac_width=40)) for _ in range(2))
    one = feature_tasks(backbone.feature_dim, [4], 30)[0]
    whole.learn(one, lambda step: None)
    for index, (low, high) in enumerate(((0, 1), (1, 4))):
        mine = (one.labels >= low) & (one.labels < high)
        part = FeatureTask(index, low, one.features[mine], one.labels[mine], one.texts[:high])
        parts.learn(part, lambda step: None)
    torch.testing.assert_close(whole.gram, parts.gram)
    torch.testing.assert_close(whole.targets, parts.targets)


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
    fresh = RAPF(backbone, Settings(seed=3), BaselineSettings())
    assert torch.equal(fresh.adapter, initial_adapter(backbone.feature_dim, "default", 3))
    assert torch.equal(
        RAPF(backbone, Settings(), BaselineSettings(rapf_init="identity")).adapter, torch.eye(backbone.feature_dim)
    )


@pytest.mark.parametrize(("tau", "beta"), [(0.0, 1), (1.5, 1), (1.5, 0.75)])
@pytest.mark.parametrize("init", ["default", "identity"])
def test_rapf_trains_as_defined(backbone, tau, beta, init):
    """One more loop, written out plainly, drawing from the same generator."""
    peers = BaselineSettings(
        rapf_epochs=6, rapf_batch_size=7, rapf_tau=tau, rapf_old_classes=2, rapf_beta=beta, rapf_init=init
    )
    of_class, of_pair = int(10 * beta), int(20 * beta)
    settings = Settings(seed=5, shuffle=False)
    model = RAPF(backbone, settings, peers)
    width, scale = backbone.feature_dim, backbone.logit_scale.item()
    adapter, means, covs = initial_adapter(width, init, 5), {}, {}
    for part in feature_tasks(width, [3, 2], 5):
        losses, told = [], []
        model.learn(part, lambda step, told=told: told.append(step.loss))
        before, a = adapter, adapter.clone().requires_grad_()
        g = torch.Generator().manual_seed(int(np.random.default_rng([5, part.index]).integers(2**62)))
        optimizer = torch.optim.Adam([a], lr=1e-3)
        pairs = [
            (i, j) for i in range(part.first) for j in range(part.first, len(part.texts))
            if (part.texts[i] - part.texts[j]).norm() < tau
        ]  # fmt: skip
        factors = [torch.linalg.cholesky(covs[c]) for c in range(part.first)]
        for epoch in range(6):
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
            adapter = fuse_adapters(before, adapter, bias=0.6)
        for c in range(part.first, len(part.texts)):
            own = part.features[part.labels == c]
            means[c], covs[c] = own.mean(0), torch.cov(own.T) + 1e-4 * torch.eye(width)
        np.testing.assert_allclose(told, losses, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.adapter, adapter, rtol=1e-3, atol=1e-4)
    assert (tau > 0) == bool(pairs)
    assert len(model.means) == 5


def test_simplecil_is_the_nearest_class_mean(backbone, icons):
    model = make_learner("simplecil", backbone, Settings(), BaselineSettings())
    for classes in ([0, 1, 2], [3, 4]):
        model.learn(*task(icons, classes))
    with torch.no_grad():
        features = model.encoder.images(model.encoder.pixels(list(icons["x_train"][:60]))).numpy()
        tests = model.encoder.images(model.encoder.pixels(list(icons["x_test"][:20]))).numpy()
    means = np.stack([features[icons["y_train"][:60] == c].mean(0) for c in range(5)])
    nearest = (tests @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).argmax(1)
    assert model.predict(list(icons["x_test"][:20])).labels.tolist() == nearest.tolist()


def test_the_alignment_loss_is_one_minus_the_cosine_of_own_pairs(tiny_clip, icons):
    settings = method_settings("align", Settings(adapter_batch_size=36, shuffle=False)).model_copy(update={"epochs": 1})
    model, losses = MGCLIP.from_pretrained(tiny_clip, settings=settings), []
    images, labels, names = task(icons, [0, 1, 2])
    features, texts = model.encoder.images(model.encoder.pixels(images)), model.encoder.texts(names)
    model.learn(images, labels, names, on_step=lambda step: losses.append(step.loss))
    cosines = [float(features[i] @ texts[y]) for i, y in enumerate(labels)]
    assert losses == [pytest.approx(1 - np.mean(cosines), abs=1e-6)]
    before = adapter_state(model.backbone)
    model.learn(*task(icons, [3]))  # a single class has a text to be pulled to
    assert any(not torch.equal(before[name], weight) for name, weight in adapter_state(model.backbone).items())


@pytest.fixture
def small(tiny_clip):
    return Recipe(
        name="small", clip=str(tiny_clip), train_per_class=5, test_per_class=4, classes_per_task=2, tasks=3, epochs=1,
        adapter_batch_size=4, head_batch_size=4, ranpac_width=30, rapf_epochs=3, rapf_tau=1.0, memory=20,
        ranpac_first_task_adapter=True, retention=["icons-concepts"],
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_resumes_as_if_it_had_not_stopped(small, tmp_path, method):
    recipe = small.model_copy(update={"methods": [method]})
    whole = run(recipe, tmp_path / "whole")

    first = 2

    class Stopped(Exception):
        pass

    def stop(name, done, tasks, record):
        if done == first:
            raise Stopped

    if METHODS[method].joint:
        assert whole[method]["tasks"] == 1
        assert whole[method]["classes"] == 6
        first = 1
    with pytest.raises(Stopped):
        run(recipe, tmp_path / "part", on_task=stop)
    again = run(recipe, tmp_path / "part", resume=True)
    assert {**again[method], "seconds": 0} == {**whole[method], "seconds": 0}
    if METHODS[method].frozen:
        states = [
            next((tmp_path / r / method / "model").glob("mgclip-state-*/*.safetensors")) for r in ("part", "whole")
        ]
        assert states[0].read_bytes() == states[1].read_bytes()
        with pytest.raises(InputError, match=rf"holds the baseline {method}: only  mgclip run --resume"):
            MGCLIP.from_pretrained(tmp_path / "whole" / method / "model")
    else:
        assert read(tmp_path / "part", method) == read(tmp_path / "whole", method)


def test_retention_is_the_text_branch_on_other_data(small, tmp_path):
    summaries = run(small.model_copy(update={"methods": ["zero-shot", "fine-tune", "rapf"]}), tmp_path / "run")
    kept = {method: summary["retention"]["icons-concepts"] for method, summary in summaries.items()}
    assert kept["zero-shot"]["drop"] == 0
    for found in kept.values():
        assert found["untuned"] == kept["zero-shot"]["accuracy"]
        assert found["drop"] == pytest.approx(found["untuned"] - found["accuracy"])
    model = MGCLIP.from_pretrained(tmp_path / "run" / "fine-tune" / "model")
    from mgclip.stream.datasets import load_dataset

    data = load_dataset("icons-concepts", path=None, test_per_class=4, test_only=True)
    features = model.encoder.images(model.encoder.pixels(data.test.images))
    right = model.text_logits(features, data.class_names).argmax(1).numpy() == data.test.labels
    assert kept["fine-tune"]["accuracy"] == pytest.approx(right.mean())
    assert (
        json.loads((tmp_path / "run" / "rapf" / "summary.json").read_text())["retention"]["icons-concepts"]
        == kept["rapf"]
    )


def test_another_methods_state_is_refused(small, tmp_path):
    run(small.model_copy(update={"methods": ["rapf"], "tasks": 1}), tmp_path / "run")
    backbone = load_backbone(small.clip)
    with pytest.raises(InputError, match="holds the method rapf, not ranpac"):
        make_learner("ranpac", backbone, small.settings(), small.peers(), tmp_path / "run" / "rapf" / "model")


def test_ranpac_adapts_on_the_first_task_only_with_the_recipes_adapters(small, icons):
    settings = small.settings().model_copy(update={"epochs": 2, "projections": "kvqo", "adapter_lr": 1e-2})
    backbone = load_backbone(small.clip)
    learner = make_learner("ranpac", backbone, settings, small.peers())
    start = adapter_state(backbone)
    assert {name.split(".")[2] for name in start} == {"k", "v", "q", "o"}
    assert learner.learn(*task(icons, [0, 1, 2])).epochs == 2
    first = adapter_state(backbone)
    assert any(not torch.equal(first[name], start[name]) for name in start)
    assert learner.learn(*task(icons, [3, 4])).epochs == 0
    assert learner.epochs == 2
    assert all(torch.equal(weight, first[name]) for name, weight in adapter_state(backbone).items())
    bare = make_learner(
        "ranpac", backbone, settings, small.peers().model_copy(update={"ranpac_first_task_adapter": False})
    )
    bare.learn(*task(icons, [0, 1, 2]))
    assert all(torch.equal(weight, start[name]) for name, weight in adapter_state(backbone).items())
