"""``adapt: auto``: adapters that learn until the evidence is against them, and a head that can do without them."""

import numpy as np
import pytest
import torch
from icon_tasks import task
from solved_models import names_of, some

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_state, adapters_have_effect
from mgclip.errors import InputError
from mgclip.method.analytic import evidence
from mgclip.method.methods import ANALYTIC
from mgclip.saving.checkpoints import Stopped, TaskCheckpoints
from mgclip.workflows.merge import new_model_like

SETTINGS = {**ANALYTIC, "features": 64, "epochs": 1, "adapter_batch_size": 16, "adapter_lr": 5e-3, "bank_per_class": 6}


@pytest.fixture
def make(tiny_clip):
    """Make a model that has learned nothing, on a CLIP of its own."""

    def made(adapt="auto", **changes):
        return MGCLIP.from_pretrained(tiny_clip, settings=Settings(**{**SETTINGS, "adapt": adapt, **changes}))

    return made


@pytest.fixture
def decide(monkeypatch):
    """Make every later decision for or against adapters, whatever the evidence."""
    return lambda kept: monkeypatch.setattr(evidence, "DEVIATIONS", -1e9 if kept else 1e9)


def same(one, other, icons):
    """The same head, weights and answers."""
    assert one.class_names == other.class_names
    head, expected = one.solved, other.solved
    assert (head.weights - expected.weights).abs().max() <= 1e-8 * expected.weights.abs().max()
    assert (head.ridge, head.sums.counts.tolist()) == (expected.ridge, expected.sums.counts.tolist())
    assert head.sums.forgotten == expected.sums.forgotten
    assert head.learned.marks.sort().values.tolist() == expected.learned.marks.sort().values.tolist()
    assert head.calibration.head == pytest.approx(expected.calibration.head, rel=1e-6)
    assert head.calibration.accuracy == pytest.approx(expected.calibration.accuracy)
    images = list(icons["x_test"])
    assert one.predict(images).confidence == pytest.approx(other.predict(images).confidence, abs=1e-5)


def test_without_adapters_the_model_is_one_that_never_had_any(make, decide, icons):
    model, never = make(), make("never")
    for adapts in (True, True, False, False):
        decide(kept=adapts)
        classes = [2 * len(model.task_sizes), 2 * len(model.task_sizes) + 1]
        result = model.learn(*task(icons, classes))
        never.learn(*task(icons, classes))
        assert (result.epochs == 1, adapters_have_effect(model.backbone)) == (adapts, adapts)
        assert (model.solved.frozen is not None, model.solved.bank is not None) == (adapts, adapts)
        if classes[0] in (0, 6):  # nothing to decide: before the first task, and after the adapters were removed
            assert result.adapters is None
        else:
            assert (result.adapters.kept, result.adapters.images) == (adapts, 24 * classes[0] // 2)
    same(model, never, icons)
    start = make().backbone
    assert all(torch.equal(adapter_state(start)[name], weight) for name, weight in adapter_state(model.backbone).items())


def test_with_adapters_the_model_is_one_that_always_adapts(make, decide, icons):
    decide(kept=True)
    model, always = make(gamma=0.5), make("always", gamma=0.5)
    for classes in ([0, 1, 2], [3, 4], [5, 6]):
        model.learn(*task(icons, classes))
        always.learn(*task(icons, classes))
    same(model, always, icons)
    assert model.solved.evidence.images == 48


def test_kept_features_follow_the_adapters(make, icons):
    """They come closer to what the adapters make of the old images now."""
    model, old = make("always", bank_per_class=12, features=256), task(icons, [0, 1, 2])
    model.learn(*old)
    before = model.encoder.images(model.encoder.pixels(old[0]))
    places = (model.solved.sample.features @ before.T).argmax(1)
    assert torch.equal(model.solved.sample.features, before[places])
    model.learn(*task(icons, [3, 4, 5, 6]))
    now = model.encoder.images(model.encoder.pixels(old[0]))
    kept = model.solved.sample.take(model.solved.sample.labels < 3).features
    moved, unmoved = ((features - now[places]).norm(dim=1).mean() for features in (kept, before[places]))
    assert moved < 0.8 * unmoved
    bank = model.solved.bank.features[model.solved.bank.classes < 3].float()
    assert torch.cdist(bank, now).min(1).values.mean() < 0.8 * unmoved


@pytest.mark.parametrize("helped", [True, False])
def test_the_errors_of_unseen_images_decide(make, icons, monkeypatch, helped):
    model = make()
    model.learn(*task(icons, [0, 1, 2]))
    means = iter([1.0, 0.5] if helped else [0.5, 1.0])  # of the frozen CLIP, then with adapters
    noise = 0.01 * torch.randn(2, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    monkeypatch.setattr(evidence, "squared_errors", lambda *_: (mean := next(means)) + noise[int(2 * mean) - 1])
    result = model.learn(*task(icons, [3, 4]))
    assert result.adapters.kept == helped == adapters_have_effect(model.backbone)


def test_a_saved_model_decides_and_continues_as_if_it_had_stayed(make, decide, icons, tmp_path):
    decide(kept=True)
    model = make()
    for classes in ([0, 1, 2], [3, 4]):
        model.learn(*task(icons, classes))
    model.save_pretrained(tmp_path / "model")
    for kept in (True, False):
        again = MGCLIP.from_pretrained(tmp_path / "model")
        assert again.solved.evidence == model.solved.evidence
        decide(kept=kept)
        result = again.learn(*task(icons, [5, 6]))
        expected = make()
        decide(kept=True)
        for classes in ([0, 1, 2], [3, 4]):
            expected.learn(*task(icons, classes))
        decide(kept=kept)
        assert expected.learn(*task(icons, [5, 6])) == result
        same(again, expected, icons)
        again.save_pretrained(tmp_path / "later")
        later = MGCLIP.from_pretrained(tmp_path / "later")
        assert (later.solved.frozen is None) == (not kept)
        for each in (again, later):
            each.learn(*task(icons, [7, 8]))
        same(later, again, icons)


def edit(model, icons):
    """Every edit of a model that has learned the classes 0 to 4."""
    names = names_of(icons, range(5))
    moved, right = some(icons, np.array([0, 1, 61]))
    model.correct(moved, [names[1], names[1], right[2] if right[2] in names else names[4]])
    model.correct(moved[:1], [names[0]])
    model.learn(*some(icons, np.array([64, 65])), names_of(icons, [5]))  # a class of its own, which decides nothing
    model.learn(list(icons["x_train"][66:68]), [names[4]] * 2, [names[4]])  # a known class grows
    model.forget(names[2])
    model.forget(names[3], images=list(icons["x_train"][36:48]))
    model.relabel(names_of(icons, [5])[0], names[4])


def test_edits_reach_both_heads(make, decide, icons):
    decide(kept=True)
    first = task(icons, [0, 1, 2, 3, 4])
    model, never, always = make(gamma=0.5), make("never", gamma=0.5), make("always", gamma=0.5)
    for each in (model, never, always):
        each.learn(*first)
        edit(each, icons)
    same(model, always, icons)
    decide(kept=False)
    for each in (model, never):
        each.learn(*task(icons, [6, 7]))
    same(model, never, icons)
    assert model.solved.sums.forgotten == 12


def test_two_models_merge_while_their_adapters_may_learn_again(make, decide, icons, tmp_path):
    decide(kept=True)
    model, never = make(gamma=0.5), make("never", gamma=0.5)
    for each in (model, never):
        each.learn(*task(icons, [0, 1, 2]))
    model.save_pretrained(tmp_path / "first")
    other = new_model_like(tmp_path / "first")
    other.learn(*task(icons, [3, 4, 1]))
    model.merge(other)
    never.learn(*task(icons, [3, 4, 1]))
    assert model.solved.bank is not None
    decide(kept=False)
    for each in (model, never):
        each.learn(*task(icons, [5, 6]))
    same(model, never, icons)


@pytest.mark.parametrize("adapt", ["always", "auto"])
def test_heads_that_cannot_follow_the_same_adapters_are_not_merged(make, icons, adapt):
    model, other = make(adapt, gamma=0.5, epochs=1), make("never", gamma=0.5)
    single = task(icons, [0])  # a single class trains no adapter
    model.learn(*single)
    other.learn(*single)
    with pytest.raises(
        InputError, match=r"Only one of the models has adapters that may learn again, .* start the second model with"
    ):
        model.merge(other)
    assert model.solved.sums.counts.tolist() == [12]


def test_tasks_that_say_nothing_decide_nothing(make, decide, icons):
    decide(kept=False)
    model = make()
    for classes in ([0], [1], [2, 3]):  # the adapters have no effect before the third task
        assert model.learn(*task(icons, classes)).adapters is None
    assert model.learn(*task(icons, [4])).adapters is None
    assert model.solved.frozen is not None
    assert adapters_have_effect(model.backbone)
    assert not model.learn(*task(icons, [5, 6])).adapters.kept


def test_images_that_were_learned_before_are_no_evidence(make, decide, icons):
    decide(kept=True)
    model = make()
    model.learn(*task(icons, [0, 1, 2]))
    rows = np.array([*range(24), *range(36, 48), *range(48, 60)])
    result = model.learn(*some(icons, rows), names_of(icons, [0, 1, 3, 4]))
    assert result.adapters.images == 24


def test_adapters_without_evidence_do_not_learn_and_stay(make, decide, icons):
    decide(kept=False)
    model, never = make(), make("never")
    model.learn(*task(icons, [0, 1, 2]))
    adapters = adapter_state(model.backbone)
    single = (*some(icons, np.array([36, 48])), names_of(icons, [3, 4]))  # one image of each class cannot be left out
    result = model.learn(*single)
    assert (result.adapters, result.epochs) == (None, 0)
    assert all(torch.equal(adapters[name], weight) for name, weight in adapter_state(model.backbone).items())
    assert not model.learn(*task(icons, [5, 6])).adapters.kept
    for classes in (task(icons, [0, 1, 2]), single, task(icons, [5, 6])):
        never.learn(*classes)
    same(model, never, icons)


def test_adapters_with_evidence_learn_from_images_that_cannot_be_compared(make, decide, icons):
    decide(kept=True)
    model = make()
    for classes in ([0, 1, 2], [3, 4]):
        model.learn(*task(icons, classes))
    result = model.learn(*some(icons, np.array([60, 72])), names_of(icons, [5, 6]))
    assert (result.adapters, result.epochs) == (None, 1)


def test_without_epochs_there_is_nothing_to_decide(make, icons):
    model, never = make(epochs=0), make("never")
    for classes in ([0, 1], [2, 3]):
        assert model.learn(*task(icons, classes)).adapters is None
        never.learn(*task(icons, classes))
    assert model.solved.frozen is None
    same(model, never, icons)


@pytest.mark.parametrize("kept", [True, False])
def test_a_task_that_fails_changes_nothing(make, decide, icons, monkeypatch, kept):
    model = make()
    model.learn(*task(icons, [0, 1, 2]))
    before, head = adapter_state(model.backbone), model.solved
    decide(kept=kept)

    def fails(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mgclip.method.analytic.solved_head.resolved", fails)
        with pytest.raises(KeyboardInterrupt):
            model.learn(*task(icons, [3, 4]))
    assert model.solved is head
    assert all(torch.equal(before[name], weight) for name, weight in adapter_state(model.backbone).items())


@pytest.mark.parametrize("kept", [True, False])
def test_a_task_resumes_with_its_decision(make, decide, icons, tmp_path, kept):
    complete, model = make(epochs=2), make(epochs=2)
    for each in (complete, model):
        each.learn(*task(icons, [0, 1, 2]))
    model.save_pretrained(tmp_path / "model")
    decide(kept=kept)
    expected = complete.learn(*task(icons, [3, 4]))
    steps = iter([False, True])
    checkpoints = TaskCheckpoints(tmp_path / "progress", 1, lambda: next(steps))
    if kept:
        with pytest.raises(Stopped):
            model.learn(*task(icons, [3, 4]), checkpoints=checkpoints)
    else:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("mgclip.method.learner.solve_task", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                model.learn(*task(icons, [3, 4]), checkpoints=checkpoints)
    again = MGCLIP.from_pretrained(tmp_path / "model")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evidence, "squared_errors", lambda *_: pytest.fail("the evidence was collected before"))
        found = again.learn(*task(icons, [3, 4]), checkpoints=TaskCheckpoints(tmp_path / "progress", 1))
    assert found == expected
    same(again, complete, icons)
