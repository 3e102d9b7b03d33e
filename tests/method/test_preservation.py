"""How long the adapters are trained: the rule by itself, and the probe that applies it."""

import pytest
import torch
from icon_tasks import task

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_state
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
