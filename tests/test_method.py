"""The method's pieces, each against its definition computed by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import task
from hypothesis import given
from hypothesis import strategies as st

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_state, adapter_weights
from mgclip.method.compensation import class_means, cosines
from mgclip.method.fusion import fuse
from mgclip.method.gap import measure_gap, similarities
from mgclip.method.training import Phase


@given(st.integers(1, 6), st.integers(2, 7), st.integers(0, 2**31))
def test_similarities(images, classes, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(images, classes)), rng.integers(0, classes, images)
    own, others = similarities(torch.tensor(logits), torch.tensor(labels))
    for i, y in enumerate(labels):
        assert own[i] == logits[i, y]
        assert others[i] == pytest.approx(np.mean([z for c, z in enumerate(logits[i]) if c != y]))


@pytest.mark.parametrize("average", ["published", "exact"])
def test_gap_averages(tiny_clip, icons, average):
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings())
    images, labels, names = task(icons, [0, 1, 2])
    pixels, texts = model.encoder.pixels(images), model.encoder.texts(names)
    found = measure_gap(
        model.encoder.images(pixels), torch.tensor(labels), texts, logit_scale=model.backbone.logit_scale, batch_size=25,
        average=average,
    )  # fmt: skip
    logits = model.text_logits(model.encoder.images(pixels), names)
    own, others = similarities(logits, torch.tensor(labels))
    parts = [(own[:25], others[:25]), (own[25:], others[25:])]
    if average == "published":
        expected = np.mean([[o.mean().item(), n.mean().item()] for o, n in parts], axis=0)
    else:
        expected = [own.mean().item(), others.mean().item()]
    assert [found.positive, found.negative] == pytest.approx(list(expected), abs=1e-5)


@given(st.integers(1, 5), st.integers(1, 6), st.floats(0, 50), st.integers(0, 2**31))
def test_fusion(images, classes, beta, seed):
    rng = np.random.default_rng(seed)
    z, c = rng.normal(size=(images, classes)) * 30, rng.uniform(-1, 1, (images, classes))

    def softmax(x):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    both = fuse(torch.tensor(z), torch.tensor(c), vision_weight=beta, mode="published").numpy()
    np.testing.assert_allclose(both, (softmax(softmax(z)) + beta * softmax(c)) / (1 + beta), rtol=1e-9)
    once = fuse(torch.tensor(z), torch.tensor(c), vision_weight=beta, mode="single-softmax").numpy()
    np.testing.assert_allclose(once, (softmax(z) + beta * softmax(c)) / (1 + beta), rtol=1e-9)


def test_class_means_are_not_normalised_again():
    features = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), dim=-1)
    means = class_means(features, torch.tensor([0, 0, 1]), 2)
    assert means[0].tolist() == [0.5, 0.5]
    assert cosines(features, means)[0, 0].item() == pytest.approx(0.5**0.5)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 99), st.integers(0, 5), st.integers(1, 9))
def test_order_is_a_permutation_that_depends_on_seed_task_and_epoch_only(count, size, seed, index, epoch):
    def order(at=epoch, **changes):
        phase = replace(Phase("adapter", index, 9, 1e-3, 1e-5, size, seed, True), **changes)
        return [i for _, part in phase.batches(count, at) for i in part.tolist()]

    assert sorted(order()) == list(range(count))
    assert order() == order(batch_size=count)
    assert order(shuffle=False) == list(range(count))
    if count > 20:
        assert order() != order(at=epoch + 1)
        assert order() != order(seed=seed + 1)


def test_adapters_start_as_nothing_and_are_all_that_trains(tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(rank=8, seed=3))
    for name, weight in adapter_weights(model.backbone):
        if name.endswith("B"):
            assert not weight.any()
        else:
            assert weight.abs().max() <= (6 / sum(weight.shape)) ** 0.5
            assert weight.std() > 0.3 * (6 / sum(weight.shape)) ** 0.5
    trainable = {id(p) for p in model.backbone.model.parameters() if p.requires_grad}
    assert trainable == {id(weight) for _, weight in adapter_weights(model.backbone)}
    bare = MGCLIP.from_pretrained(tiny_clip, settings=Settings(rank=2, seed=4))
    images = list(icons["x_test"][:3])
    assert torch.equal(
        model.encoder.images(model.encoder.pixels(images)), bare.encoder.images(bare.encoder.pixels(images))
    )


def test_adapter_size_of_vit_b16():
    """491,520 parameters at rank 8, as published."""
    from transformers import CLIPConfig, CLIPModel

    from mgclip.clip.adapters import attach_adapters
    from mgclip.clip.backbone import Backbone

    class Processor:
        image_mean = image_std = (0.5, 0.5, 0.5)

    with torch.device("meta"):
        empty = CLIPModel(CLIPConfig(vision_config={"patch_size": 16}))
    empty.logit_scale = torch.nn.Parameter(torch.tensor(1.0))
    backbone = Backbone(empty, None, Processor(), "vit-b-16", "")
    with torch.device("meta"):
        attach_adapters(backbone, rank=8, alpha=1, seed=0)
    assert sum(weight.numel() for _, weight in adapter_weights(backbone)) == 491_520


def test_probe_stops_at_alpha_and_restores_the_adapter(tiny_clip, icons):
    settings = Settings(
        epochs="auto", max_epochs=6, alpha=0.004, adapter_batch_size=16, adapter_lr=5e-3, branches="text"
    )
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    learned = model.learn(*task(icons, [0, 1, 2, 3]))
    probe = learned.probe
    moved = [abs(gap.negative - probe.initial.negative) / abs(probe.initial.negative) for gap in probe.after_epoch]
    assert len(moved) < 6
    assert moved[-1] > 0.004
    assert all(m <= 0.004 for m in moved[:-1])
    assert learned.epochs == max(1, len(moved) - 1)
    given = MGCLIP.from_pretrained(tiny_clip, settings=settings.model_copy(update={"epochs": learned.epochs}))
    given.learn(*task(icons, [0, 1, 2, 3]))
    theirs = adapter_state(given.backbone)
    assert all(torch.equal(theirs[name], weight) for name, weight in adapter_state(model.backbone).items())


def test_probe_that_never_crosses_allows_all_epochs(tiny_clip, icons):
    settings = Settings(epochs="auto", max_epochs=2, alpha=1e9, branches="text")
    learned = MGCLIP.from_pretrained(tiny_clip, settings=settings).learn(*task(icons, [0, 1]))
    assert len(learned.probe.after_epoch) == learned.epochs == 2


@pytest.mark.parametrize("alpha", [1e9, 0.004])
def test_what_the_probe_trained_is_what_the_adapter_phase_would(tiny_clip, icons, alpha):
    settings = Settings(epochs="auto", max_epochs=3, alpha=alpha, adapter_batch_size=16, adapter_lr=5e-3)
    probed = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    learned = probed.learn(*task(icons, [0, 1, 2, 3]))
    assert learned.probe.completed == (alpha == 1e9)
    given = MGCLIP.from_pretrained(tiny_clip, settings=settings.model_copy(update={"epochs": learned.epochs}))
    given.learn(*task(icons, [0, 1, 2, 3]))
    assert all(torch.equal(w, adapter_state(given.backbone)[n]) for n, w in adapter_state(probed.backbone).items())
    assert torch.equal(probed.head, given.head)


@pytest.mark.parametrize("prompt", ["no place", "{} and {}", "{0}", "{", "a {}}"])
def test_prompt_needs_one_place(prompt):
    with pytest.raises(ValueError, match=r"must hold \{\} once"):
        Settings(prompt=prompt)
