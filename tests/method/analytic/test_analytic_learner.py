"""A model with a solved head: what it learns, how its classes grow, and what it refuses."""

import numpy as np
import pytest
import torch
from icon_tasks import task
from solved_models import SETTINGS, equal, names_of, some, state

from mgclip import MGCLIP
from mgclip.clip.adapters import adapter_state
from mgclip.errors import InputError


def test_one_task_grows_known_classes_and_adds_new_ones(make, icons):
    """Classes 0 to 2 with the first eight drawings; then 3, more of 1, and 4, in a task of their own."""
    rows = np.arange(60)
    first = rows[(rows < 36) & (rows % 12 < 8)]
    rest = np.array([row for row in rows if row not in first])
    grown = make()
    grown.learn(*some(icons, first), names_of(icons, [0, 1, 2]))
    result = grown.learn(*some(icons, rest[rest >= 12]), names_of(icons, [3, 1, 4, 2]))
    assert (result.epochs, grown.task_sizes) == (0, (3, 2))
    assert grown.class_names == tuple(names_of(icons, [0, 1, 2, 3, 4]))
    assert grown.solved.sums.counts.tolist() == [8, 12, 12, 12, 12]
    grown.learn(*some(icons, rest[rest < 12]), names_of(icons, [0]))
    assert grown.task_sizes == (3, 2, 0)
    # gamma is fixed by the first task, so the other model gets that one
    together = make(gamma=grown.solved.fourier.gamma)
    together.learn(*some(icons, rows), names_of(icons, [0, 1, 2, 3, 4]))
    equal(grown, together, icons)


def test_a_head_that_predicts_alone_is_weighed_alone(make, icons, monkeypatch):
    """The texts would change the weight of the head, although they do not predict."""
    from mgclip.method.analytic.calibration import fit_weights

    both, alone = make(), make(branches="image")
    both.learn(*task(icons, [0, 1, 2]))
    fitted = []

    def fit(scores, text_logits, labels, several, **given):
        fitted.append((scores, text_logits, labels, fit_weights(scores, text_logits, labels, several, **given)[0]))
        return fit_weights(scores, text_logits, labels, several, **given)

    monkeypatch.setattr("mgclip.method.analytic.calibration.fit_weights", fit)
    monkeypatch.setattr(alone.encoder, "logits", lambda *_: pytest.fail("the texts were encoded"))
    alone.learn(*task(icons, [0, 1, 2]))
    alone.forget(alone.class_names[0])
    assert len(fitted) == 2
    for scores, logits, labels, weight in fitted:
        assert torch.equal(logits, torch.zeros_like(scores))
        errors = [torch.nn.functional.cross_entropy(a * scores, labels).item() for a in (0.5, 1.0, 2.0, 4.0, 8.0)]
        assert torch.nn.functional.cross_entropy(weight * scores, labels) < min(errors) + 0.02


def test_a_given_weight_of_the_texts_stays(make, icons, tmp_path):
    """Whatever is learned, forgotten, united or merged later."""
    model, other = make(text_weight=0.2, gamma=0.5), make(gamma=0.5)
    model.learn(*task(icons, [0, 1, 2, 3]))
    assert model.solved.calibration.text == 0.2
    other.learn(*task(icons, [4, 5]))
    assert other.solved.calibration.text != 0.2
    model.save_pretrained(tmp_path / "model")
    model = MGCLIP.from_pretrained(tmp_path / "model")
    names = names_of(icons, range(4))
    for edit in (
        lambda: model.learn(*task(icons, [6, 7])),
        lambda: model.forget(names[0]),
        lambda: model.relabel(names[1], names[2]),
        lambda: model.merge(other),
    ):
        edit()
        assert model.solved.calibration.text == 0.2


def test_a_known_class_keeps_its_text(learned, icons):
    names = names_of(icons, [0, 3])
    learned.learn(*some(icons, np.array([0, 1, 36, 37])), names, class_texts=["another text", "a text"])
    assert learned.class_texts == (*names_of(icons, [0, 1, 2]), "a text")


def test_a_trained_model_refuses_a_known_class_with_the_ways_out(tiny_clip, quick, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=quick)
    model.learn(*task(icons, [0, 1]))
    before = (model.class_names, model.head.clone())
    with pytest.raises(InputError) as error:
        model.learn(*task(icons, [1, 2]))
    for way in ("leave it out", "another name", "forget the learned one", "analytic compensation"):
        assert way in str(error.value)
    assert model.class_names == before[0]
    assert torch.equal(model.head, before[1])


@pytest.mark.parametrize("kind", ["analytic", "published", "single-softmax"])
@pytest.mark.parametrize("candidates", [(), ("a zebra", "lion", "the moon")])
def test_the_answer_is_the_class_of_the_largest_number_shown(tiny_clip, quick, icons, kind, candidates):
    settings = SETTINGS if kind == "analytic" else quick.model_copy(update={"fusion": kind})
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    model.learn(*task(icons, [0, 1, 2, 3]))
    found = model.predict(list(icons["x_test"]), candidates=candidates)
    assert found.names == [found.classes[label] for label in found.confidence.argmax(1)]
    assert found.top_confidence.tolist() == found.confidence.max(1).tolist()
    for best, name, number in zip(found.top(3), found.names, found.top_confidence, strict=True):
        assert best[0] == (name, number)
        assert [value for _, value in best] == sorted((value for _, value in best), reverse=True)
    np.testing.assert_allclose(found.confidence.sum(1), 1, rtol=1e-5)


@pytest.fixture
def poison(monkeypatch):
    """Make the CLIP of a model give NaN for the last image of each batch from now on."""

    def spoil(model):
        real = model.backbone.image_features

        def poisoned(pixels, **options):
            features = real(pixels, **options).clone()
            features[-1] = float("nan")
            return features

        monkeypatch.setattr(model.backbone, "image_features", poisoned)

    return spoil


@pytest.mark.parametrize("adapt", ["never", "first"])
def test_features_that_are_not_finite_are_refused(make, learned, icons, poison, adapt):
    sentence = r"The CLIP gives NaN or infinite features for image 24 of 24: use the precision float32, or another CLIP\."
    images, labels, names = task(icons, [3, 4])
    before = state(learned)
    poison(learned)
    with pytest.raises(InputError, match=sentence):
        learned.learn(images, labels, names)
    with pytest.raises(InputError, match=sentence):
        learned.correct(images, [learned.class_names[0]] * 24)
    with pytest.raises(InputError, match=r"for image 12 of 12"):
        learned.forget(learned.class_names[0], images=images[:12])
    with pytest.raises(InputError, match=r"for image 2 of 2"):
        learned.predict(images[:2])
    assert state(learned) == before
    new = make(adapt=adapt, epochs=0)
    poison(new)
    before = state(new)
    with pytest.raises(InputError, match=sentence):
        new.learn(images, labels, names)
    assert state(new) == before


@pytest.mark.parametrize("adapt", ["never", "first"])
def test_a_task_that_fails_changes_nothing(make, icons, monkeypatch, adapt):
    model = make(adapt=adapt, epochs=1, adapter_batch_size=16, adapter_lr=2e-3)
    if adapt == "never":
        model.learn(*task(icons, [0, 1]))
    before = state(model)

    def fails(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mgclip.method.analytic.solved_head.resolved", fails)
        with pytest.raises(KeyboardInterrupt):
            model.learn(*task(icons, [2, 3]))
    assert state(model) == before
    model.learn(*task(icons, [2, 3]))
    assert len(model.class_names) == (4 if adapt == "never" else 2)


def test_adapters_of_the_first_task_stay(make, icons):
    model = make(adapt="first", epochs=1, adapter_batch_size=16, adapter_lr=2e-3)
    steps = []
    start = adapter_state(model.backbone)
    model.learn(*task(icons, [0, 1]), on_step=steps.append)
    adapted = adapter_state(model.backbone)
    assert {step.phase for step in steps} == {"adapter"}
    assert any(not torch.equal(start[name], adapted[name]) for name in start)
    model.learn(*task(icons, [2, 3]), on_step=lambda step: pytest.fail("a later task has trained"))
    assert all(torch.equal(adapted[name], weight) for name, weight in adapter_state(model.backbone).items())


def test_a_saved_model_continues_as_if_it_had_stayed(make, icons, tmp_path):
    model = make()
    model.learn(*task(icons, [0, 1, 2]))
    model.save_pretrained(tmp_path / "model")
    again = MGCLIP.from_pretrained(tmp_path / "model")
    assert state(again) == state(model)
    for continued in (model, again):
        continued.learn(*task(icons, [3, 2]))
    # The file keeps one triangle of the symmetric sum, so rounding may differ.
    assert (again.solved.weights - model.solved.weights).abs().max() <= 1e-10 * model.solved.weights.abs().max()


@pytest.mark.parametrize("change", [{"compensation": "trained", "fusion": "published"}])
def test_a_saved_model_whose_settings_do_not_fit_its_head_is_refused(learned, tmp_path, change):
    import json

    learned.save_pretrained(tmp_path / "model")
    file = tmp_path / "model" / "mgclip.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps({**written, "settings": {**written["settings"], **change}}))
    with pytest.raises(InputError, match=r"is damaged \(compensation 'trained' with a solved head\)"):
        MGCLIP.from_pretrained(tmp_path / "model")
    file.write_text(json.dumps({key: value for key, value in written.items() if key != "solved"}))
    with pytest.raises(InputError, match=r"is damaged \(compensation 'analytic' without a solved head\)"):
        MGCLIP.from_pretrained(tmp_path / "model")
