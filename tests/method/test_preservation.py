"""How long the adapters are trained: the rule by itself, and the probe that applies it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from icon_tasks import task

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_state, adapters_have_effect
from mgclip.method import preservation
from mgclip.method.gap import Gap
from mgclip.method.gap_rule import epochs_within


@pytest.mark.parametrize(
    ("alpha", "initial", "after", "epochs"),
    [
        (0.1, 20.0, [], None),
        (0.1, 20.0, [19.0, 18.5], None),
        (0.1, 20.0, [19.0, 18.5, 17.9], 2),
        (0.1, 20.0, [19.0, 18.5, 17.9, 10.0], 2),
        (0.1, 20.0, [19.0, 17.0, 19.0], 1),  # the first crossing decides
        (0.1, 20.0, [10.0], 1),  # at least one epoch, even if the first one crosses
        (0.1, 20.0, [21.0, 22.5], 1),  # a rise counts like a fall
        (0.1, -20.0, [-19.0, -17.9], 1),  # the change is relative to the size of the first value
        (0.25, 4.0, [3.0, 5.0], None),  # exactly alpha is within alpha
        (None, 20.0, [10.0, 5.0, 0.0], None),
        (0.1, -1.0, [-1.05, -1.09, -1.2], 2),
    ],
)
def test_epochs_end_before_the_first_that_moves_the_negative_similarity_by_more_than_alpha(alpha, initial, after, epochs):
    assert epochs_within(alpha, initial, after) == epochs


@pytest.mark.parametrize(
    ("initial", "after", "epochs"), [(0.0, [0.4, -0.5], None), (0.01, [0.4, 0.52], 1), (-1.0, [-1.2, -1.4, -1.6], 2)]
)
def test_near_zero_the_change_is_relative_to_a_least_similarity(initial, after, epochs):
    assert epochs_within(0.1, initial, after, 5.0) == epochs


def test_the_probe_stops_beyond_alpha_and_restores_the_adapter(tiny_clip, icons):
    settings = Settings(epochs="auto", max_epochs=6, alpha=0.004, adapter_batch_size=16, adapter_lr=5e-3, branches="text")
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


def test_a_probe_that_never_crosses_alpha_allows_all_epochs(tiny_clip, icons):
    settings = Settings(epochs="auto", max_epochs=2, alpha=1e9, branches="text")
    learned = MGCLIP.from_pretrained(tiny_clip, settings=settings).learn(*task(icons, [0, 1]))
    assert len(learned.probe.after_epoch) == learned.epochs == 2


@pytest.mark.parametrize("average", ["published", "exact"])
def test_the_probe_starts_from_the_gap_of_the_untuned_clip_on_the_first_task(tiny_clip, icons, average):
    settings = Settings(epochs="auto", max_epochs=1, adapter_batch_size=11, gap_average=average, branches="text")
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    images, labels, names = task(icons, [0, 1, 2])
    texts = ["a red square", "a bird", "three words here"]
    x, t = model.encoder.images(model.encoder.pixels(images)).numpy(), model.encoder.texts(texts).numpy()
    z = model.backbone.logit_scale.item() * x @ t.T
    own = z[np.arange(36), labels]
    others = (z.sum(1) - own) / 2
    exact = [own.mean(), others.mean()]
    published = [np.mean([part.mean() for part in np.split(values, [11, 22, 33])]) for values in (own, others)]
    initial = model.learn(images, labels, names, class_texts=texts).probe.initial
    assert [initial.positive, initial.negative] == pytest.approx(exact if average == "exact" else published, abs=1e-4)
    assert np.abs(np.subtract(exact, published)).min() > 0.01


@pytest.mark.parametrize(("loss", "epochs"), [("cross-entropy", 0), ("align", 2)])
def test_a_single_class_trains_adapters_only_with_a_loss_that_needs_no_other_class(tiny_clip, icons, loss, epochs):
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=2, adapter_loss=loss, branches="text"))
    losses = []
    assert model.learn(*task(icons, [0]), on_step=lambda step: losses.append(step.loss)).epochs == epochs == len(losses)
    assert adapters_have_effect(model.backbone) == (epochs > 0)
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(("sigmoid", "epochs"), [(False, 1), (True, 3)])
def test_for_a_clip_trained_with_a_sigmoid_loss_changes_are_relative_to_5_logits(tiny_clip, icons, monkeypatch, sigmoid, epochs):
    """0.1 of 5 logits are 0.5: the negative similarity crosses that after the fourth epoch; 0.1 of 0.2 at once."""
    negatives = iter([0.2, 0.6, -0.2, 0.69, 0.71])
    monkeypatch.setattr(preservation, "measure_gap", lambda *_, **__: Gap(20.0, next(negatives)))
    monkeypatch.setattr(preservation, "family_of", lambda model: SimpleNamespace(sigmoid=sigmoid))
    settings = Settings(epochs="auto", max_epochs=6, branches="text")
    learned = MGCLIP.from_pretrained(tiny_clip, settings=settings).learn(*task(icons, [0, 1]))
    assert learned.epochs == learned.probe.epochs == epochs
    assert len(learned.probe.after_epoch) == (4 if sigmoid else 1)


@pytest.mark.parametrize("alpha", [1e9, 0.004])
def test_a_probed_model_equals_one_with_the_epochs_given(tiny_clip, icons, alpha):
    settings = Settings(epochs="auto", max_epochs=3, alpha=alpha, adapter_batch_size=16, adapter_lr=5e-3)
    probed = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    learned = probed.learn(*task(icons, [0, 1, 2, 3]))
    assert learned.probe.completed == (alpha == 1e9)
    given = MGCLIP.from_pretrained(tiny_clip, settings=settings.model_copy(update={"epochs": learned.epochs}))
    given.learn(*task(icons, [0, 1, 2, 3]))
    assert all(torch.equal(w, adapter_state(given.backbone)[n]) for n, w in adapter_state(probed.backbone).items())
    assert torch.equal(probed.head, given.head)


def test_a_probe_after_a_task_of_one_class_does_not_replace_the_replay(tiny_clip, icons):
    """The probe trains on the images of the task alone, so what it has trained is not kept if old images are replayed."""
    settings = Settings(epochs="auto", max_epochs=2, alpha=None, memory=8, adapter_batch_size=16, adapter_lr=5e-3, head_epochs=1)
    probed, given = (
        MGCLIP.from_pretrained(tiny_clip, settings=each) for each in (settings, settings.model_copy(update={"epochs": 2}))
    )
    for model in (probed, given):
        model.learn(*task(icons, [0]))
        steps = []
        learned = model.learn(*task(icons, [1, 2, 3]), on_step=lambda step, to=steps: to.append(step.phase))
        assert list(dict.fromkeys(steps)) == (["probe"] if model is probed else []) + ["adapter", "head"]
        assert learned.epochs == 2
    assert all(torch.equal(w, adapter_state(given.backbone)[n]) for n, w in adapter_state(probed.backbone).items())
