"""A model with a solved head: what it learns, how its classes grow, and what it refuses."""

import numpy as np
import pytest
import torch
from conftest import task

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_state
from mgclip.errors import InputError
from mgclip.method.baselines.table import ANALYTIC

SETTINGS = Settings(**ANALYTIC, features=64)


@pytest.fixture
def make(tiny_clip):
    """Make a model with a solved head that has learned nothing."""
    return lambda **changes: MGCLIP.from_pretrained(tiny_clip, settings=Settings(**{**SETTINGS.model_dump(), **changes}))


@pytest.fixture
def learned(make, icons):
    model = make()
    model.learn(*task(icons, [0, 1, 2]))
    return model


def names_of(icons, classes):
    return [str(icons["class_names"][c]) for c in classes]


def some(icons, rows):
    """Training drawings, twelve of each class, and the names of their classes."""
    return list(icons["x_train"][rows]), names_of(icons, icons["y_train"][rows])


def state(model):
    head = model.solved
    tensors = [] if head is None else [head.sums.gram, head.sums.targets, head.weights, head.learned.marks, head.learned.labels]
    about = (
        model.class_names,
        model.class_texts,
        model.task_sizes,
        None if head is None else (head.ridge, head.calibration),
    )
    return about, [tensor.numpy().tobytes() for tensor in (*tensors, *adapter_state(model.backbone).values())]


def equal(found, expected, icons, *, order=None):
    """The same head within rounding, over the same classes, and the same answers.

    Features of one image differ in rounding between batches of different images. ``order`` gives the positions of the classes
    of ``expected`` in ``found``.
    """
    order = order or list(range(len(found.class_names)))
    assert [found.class_names[place] for place in order] == list(expected.class_names)
    one, other = found.solved.weights[:, order], expected.solved.weights
    assert (one - other).abs().max() <= 1e-6 * other.abs().max()
    assert found.solved.ridge == expected.solved.ridge
    assert found.solved.sums.counts[order].tolist() == expected.solved.sums.counts.tolist()
    seen = list(icons["x_test"])
    assert found.predict(seen).names == expected.predict(seen).names
    for value in ("head", "text", "deviation", "accuracy"):
        assert getattr(found.solved.calibration, value) == pytest.approx(getattr(expected.solved.calibration, value), rel=1e-3)


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
    from mgclip.method.calibration import fit_weights

    both, alone = make(), make(branches="image")
    both.learn(*task(icons, [0, 1, 2]))
    fitted = []

    def fit(scores, text_logits, *others):
        fitted.append((scores, text_logits, others[0], fit_weights(scores, text_logits, *others)[0]))
        return fit_weights(scores, text_logits, *others)

    monkeypatch.setattr("mgclip.method.calibration.fit_weights", fit)
    monkeypatch.setattr(alone.encoder, "logits", lambda *_: pytest.fail("the texts were encoded"))
    alone.learn(*task(icons, [0, 1, 2]))
    alone.forget(alone.class_names[0])
    assert len(fitted) == 2
    for scores, logits, labels, weight in fitted:
        assert torch.equal(logits, torch.zeros_like(scores))
        errors = [torch.nn.functional.cross_entropy(a * scores, labels).item() for a in (0.5, 1.0, 2.0, 4.0, 8.0)]
        assert torch.nn.functional.cross_entropy(weight * scores, labels) < min(errors) + 0.02


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


def test_corrections_equal_learning_right_from_the_start(make, icons):
    """Drawings 3 and 20 were learned in wrong classes, 40 was not learned."""
    rows = np.array([row for row in range(48) if row != 40])
    images, right = some(icons, rows)
    wrong = list(right)
    wrong[3], wrong[20] = names_of(icons, [2, 0])
    names = names_of(icons, range(4))
    model = make()
    model.learn(images, wrong, names)
    expected = make(gamma=model.solved.fourier.gamma)
    asked, classes = some(icons, np.array([3, 20, 40, 41]))
    assert model.correct([*asked, asked[2]], [*classes, classes[2]]) == [wrong[3], wrong[20], None, names[3], None]
    expected.learn(*some(icons, np.arange(48)), names)
    equal(model, expected, icons)
    before = state(model)
    assert model.correct(asked, classes) == classes  # each is in its class by now
    assert state(model) == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda i, n: (i[:2], ["no such class", n[1]]),
            r"has not learned the class 'no such class': it has learned 3 classes",
        ),
        (lambda i, n: (i[:2], n[:1]), r"Each image needs a class: found 2 images and 1 names?\."),
        (lambda i, n: ([i[0], i[0]], n[:2]), r"Images 1 and 2 have the same pixels but different classes"),
        (
            lambda i, n: (i[:12], [n[1]] * 12),
            r"No image would be left in the class '.+': unite it with another class, or forget",
        ),
        (lambda i, n: (["no.png"], n[:1]), r"There is no image file no\.png"),
    ],
)
def test_wrong_corrections_change_nothing(learned, icons, change, sentence):
    images, names = list(icons["x_train"][:36]), names_of(icons, [0, 1, 2])
    before = state(learned)
    with pytest.raises(InputError, match=sentence):
        learned.correct(*change(images, names))
    assert state(learned) == before


def test_a_trained_model_cannot_be_corrected_or_merged(tiny_clip, quick, icons, learned):
    model = MGCLIP.from_pretrained(tiny_clip, settings=quick)
    images, _, names = task(icons, [0, 1])
    model.learn(*task(icons, [0, 1]))
    with pytest.raises(InputError, match=r"trained head cannot correct single images: only a solved head"):
        model.correct(images[:1], names[:1])
    with pytest.raises(InputError, match=r"cannot forget images|Only a solved head can forget images"):
        model.forget(names[0], images=images[:12])
    assert model.class_names == tuple(names)


def test_a_model_that_has_learned_nothing_says_so(make, learned, icons):
    empty = make()
    with pytest.raises(InputError, match=r"has not learned the class"):
        empty.correct(list(icons["x_train"][:1]), names_of(icons, [0]))
    for one, other in ((empty, learned), (learned, empty)):
        with pytest.raises(InputError, match=r"A model that has learned no class cannot merge: learn a first task\."):
            one.merge(other)


def test_a_class_forgotten_with_its_images_was_never_learned(make, icons):
    model = make()
    model.learn(*task(icons, [0, 1, 2, 3]))
    names = names_of(icons, range(4))
    before = state(model)
    for images in (icons["x_train"][12:23], icons["x_train"][12:25], icons["x_train"][13:25]):
        with pytest.raises(InputError, match=r"These are not the images from which '.+' was learned \(12 were learned, 1[123]"):
            model.forget(names[1], images=list(images))
    assert state(model) == before
    model.forget(names[1], images=list(icons["x_train"][12:24]))
    never = make(gamma=model.solved.fourier.gamma)
    never.learn(*task(icons, [0, 2, 3]))
    equal(model, never, icons)
    assert (model.task_sizes, model.solved.sums.forgotten) == ((3,), 0)


def test_a_class_forgotten_without_its_images_leaves_the_scatter(learned, icons, tmp_path):
    names = names_of(icons, [0, 1, 2])
    learned.forget(names[1])
    assert learned.solved.sums.forgotten == 12
    assert set(learned.predict(list(icons["x_test"])).classes) == {names[0], names[2]}
    learned.save_pretrained(tmp_path / "model")
    again = MGCLIP.from_pretrained(tmp_path / "model")
    assert again.solved.sums.forgotten == 12
    assert again.predict(list(icons["x_test"])).confidence == pytest.approx(
        learned.predict(list(icons["x_test"])).confidence, abs=1e-6
    )


def test_a_class_takes_the_name_of_another_and_unites_with_it(make, icons):
    images, labels = some(icons, np.arange(36))
    names = names_of(icons, [0, 1, 2])
    model, expected = make(), make()
    model.learn(images, labels, names)
    model.relabel(names[0], names[2])
    assert (model.class_names, model.task_sizes) == (tuple(names[1:]), (2,))
    expected.learn(images, [names[2] if label == names[0] else label for label in labels], names[1:])
    equal(model, expected, icons)
    model.relabel(names[1], names[2], "both")
    assert (model.class_names, model.class_texts) == ((names[2],), ("both",))
    assert model.predict(images[:2]).names == [names[2]] * 2


@pytest.fixture
def two(tiny_clip, icons):
    """Two models on CLIPs of their own: each has half of the images of three classes, the second one class 3 too."""

    def made(**changes):
        models = []
        for half, classes in ((0, [0, 1, 2]), (1, [3, 2, 1, 0])):
            rows = np.array([row for c in classes for row in range(12 * c, 12 * c + 12) if row % 2 == half or c == 3])
            settings = Settings(**{**SETTINGS.model_dump(), "gamma": 0.5, **(changes if half else {})})
            model = MGCLIP.from_pretrained(tiny_clip, settings=settings)
            model.learn(*some(icons, rows), names_of(icons, classes))
            models.append(model)
        return models

    return made


def test_two_halves_merge_into_the_model_of_all_images(make, two, icons):
    one, other = two()
    one.merge(other)
    together = make(gamma=0.5)
    together.learn(*some(icons, np.arange(48)), names_of(icons, range(4)))
    equal(one, together, icons)
    assert one.task_sizes == (3, 1)
    again, first = two()[1], two()[0]
    again.merge(first)
    equal(again, together, icons, order=[3, 2, 1, 0])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gamma": 0.25}, r"differ in their gamma \(0\.5 and 0\.25\), .* start the second one with --like"),
        ({"seed": 3}, r"differ in their seed \(0 and 3\)"),
        ({"features": 32}, r"differ in their number of random features \(64 and 32\)"),
        ({"prompt": "a {}"}, r"differ in their prompt \(a good photo of a \{\}\. and a \{\}\)"),
    ],
)
def test_models_that_do_not_fit_are_not_merged(two, changes, sentence):
    one, other = two(**changes)
    before = state(one)
    with pytest.raises(InputError, match=sentence):
        one.merge(other)
    assert state(one) == before


def test_adapters_that_were_never_trained_may_have_any_shape(two, icons):
    expected, more = two()
    expected.merge(more)
    one, other = two(rank=2)
    one.merge(other)
    equal(one, expected, icons)


def test_models_of_different_clips_or_adapters_are_not_merged(two, learned, icons):
    one, other = two()
    before = state(one)
    with torch.no_grad():
        for name, weight in other.backbone.peft_model.named_parameters():
            if "lora_B" in name:
                weight.add_(0.01)
                break
    with pytest.raises(InputError, match=r"The adapters of the models differ, so they cannot be merged: start the second one"):
        one.merge(other)
    other = MGCLIP.from_pretrained("iconclip", settings=SETTINGS)
    other.learn(*task(icons, [0, 1]))
    with pytest.raises(InputError, match=r"The models have different CLIPs, so they cannot be merged\."):
        one.merge(other)
    assert state(one) == before


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
        patched.setattr("mgclip.method.solved_head.resolved", fails)
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
