"""MGCLIP: learning, predicting, and what must be refused."""

import warnings

import numpy as np
import pytest
import torch
from icon_tasks import task
from learned import state

from mgclip import MGCLIP, Settings
from mgclip.clip.adapters import adapter_state
from mgclip.errors import AlikeTexts, InputError
from mgclip.method.training import TrainingDiverged


def test_predictions_are_over_all_learned_classes(learned, icons):
    learned.learn(*task(icons, [3, 4]))
    assert learned.class_names == tuple(str(n) for n in icons["class_names"][:5])
    assert learned.task_sizes == (3, 2)
    predictions = learned.predict(list(icons["x_test"][:8]))
    assert predictions.probabilities.shape == (8, 5)
    np.testing.assert_allclose(predictions.probabilities.sum(1), 1, rtol=1e-5)
    assert predictions.names == [learned.class_names[i] for i in predictions.probabilities.argmax(1)]
    best = next(predictions.top(2))
    assert best[0][0] == predictions.names[0]
    assert best[0][1] >= best[1][1]


def test_labels_may_be_names(tiny_clip, quick, icons):
    images, labels, names = task(icons, [0, 1, 2])
    one, two = (MGCLIP.from_pretrained(tiny_clip, settings=quick) for _ in range(2))
    one.learn(images, labels, names)
    two.learn(images, [names[label] for label in labels], names)
    assert state(one) == state(two)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda i, y, n: (i, y, n[:-1]),
            r"The label 2 is not a position in class_names, which holds 2 \(0 to 1\), and not every",
        ),
        (lambda i, y, n: (i, [-1, *y[1:]], n), r"The label -1 is not a position"),
        (lambda i, y, n: (i, ["cat"] * len(y), n), r"The label 'cat' is not in class_names, which holds 3 names"),
        (lambda i, y, n: (i, y, [*n, "extra"]), r"The class 'extra' has no image: give it at least one"),
        (lambda i, y, n: (i, y, [n[0], n[0], n[2]]), r"The class '.+' is named twice in this task"),
        (lambda i, y, n: (i, y, [" ", *n[1:]]), r"A class needs a name; found ' '\."),
        (lambda i, y, n: (i, y[1:], n), r"Each image needs a label: found 36 images and 35 labels\."),
        (lambda i, y, n: (i, [0.5] * len(y), n), r"labels must be whole numbers or class names; found float 0\.5\."),
        (lambda i, y, n: ([], [], []), r"There is no class to learn"),
        (lambda i, y, n: (["no.png", *i[1:]], y, n), r"There is no image file no\.png\."),
        (lambda i, y, n: ([i[0] / 255.0, *i[1:]], y, n), r"An image array must be uint8 .* found float64"),
    ],
)
def test_what_cannot_be_learned_changes_nothing(learned, icons, change, sentence):
    before = state(learned)
    with pytest.raises(InputError, match=sentence):
        learned.learn(*change(*task(icons, [5, 6, 7])))
    assert state(learned) == before


def test_a_class_is_learned_once(learned, icons):
    with pytest.raises(
        InputError,
        match=r"was learned before, and a trained head cannot grow: leave it out, .* forget .* use a model with analytic",
    ):
        learned.learn(*task(icons, [2, 3]))


def test_an_unreadable_image_is_named_in_the_error(learned, icons, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    images, labels, names = task(icons, [5, 6])
    before = state(learned)
    with pytest.raises(InputError, match=r"The image .*broken\.png cannot be read"):
        learned.learn([*images[:-1], broken], labels, names)
    assert state(learned) == before


def test_a_class_with_one_image_is_learned(model, icons):
    images, labels, names = task(icons, [0, 1])
    keep = [0, *range(12, 24)]
    model.learn([images[i] for i in keep], [labels[i] for i in keep], names)
    assert set(model.predict(images).names) == set(names)
    assert model.head.isfinite().all()


def test_a_task_of_one_class_leaves_the_probe_to_the_next(tiny_clip, quick, icons):
    settings = quick.model_copy(update={"epochs": "auto", "max_epochs": 2})
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    before = adapter_state(model.backbone)
    first = model.learn(*task(icons, [0]))
    assert first.probe is None
    assert model.epochs is None
    assert all(torch.equal(before[name], weight) for name, weight in adapter_state(model.backbone).items())
    assert model.predict(list(icons["x_test"][:2])).names == [str(icons["class_names"][0])] * 2
    second = model.learn(*task(icons, [1, 2]))
    assert second.probe is not None
    assert model.epochs == second.epochs in (1, 2)


def test_predicting_needs_a_learned_class(model, icons):
    with pytest.raises(InputError, match="has learned no class yet"):
        model.predict(list(icons["x_test"][:1]))


@pytest.mark.parametrize(
    ("number", "error", "sentence"),
    [
        (2, TrainingDiverged, "The loss became nan at task 1, adapter epoch 1, step 2"),
        (3, InputError, "The CLIP gives NaN or infinite features for image 1 of 24"),
    ],
)
def test_a_loss_or_a_feature_that_is_not_finite_stops_and_changes_nothing(learned, icons, monkeypatch, number, error, sentence):
    before = state(learned)
    calls = {"images": 0}
    real = learned.backbone.image_features

    def poisoned(pixels, **options):
        calls["images"] += 1
        features = real(pixels, **options)
        return features * float("nan") if calls["images"] == number else features

    monkeypatch.setattr(learned.backbone, "image_features", poisoned)
    with pytest.raises(error, match=sentence):
        learned.learn(*task(icons, [5, 6]))
    assert state(learned) == before


def test_an_interrupted_task_changes_nothing(learned, icons):
    before = state(learned)

    def stop(step):
        if step.phase == "head":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learned.learn(*task(icons, [5, 6]), on_step=stop)
    assert state(learned) == before


@pytest.mark.parametrize("loaded", [False, True])
def test_a_signal_between_training_and_the_new_state_changes_nothing(learned, icons, monkeypatch, loaded):
    before, load = state(learned), learned._load_state

    def interrupt(new):
        if loaded:
            load(new)
        raise KeyboardInterrupt

    monkeypatch.setattr(learned, "_load_state", interrupt)
    with pytest.raises(KeyboardInterrupt):
        learned.learn(*task(icons, [5, 6]))
    assert state(learned) == before


def test_class_texts_are_encoded_once_until_the_weights_change(learned, icons, monkeypatch):
    seen = []
    real = learned.backbone.text_features
    monkeypatch.setattr(learned.backbone, "text_features", lambda tokens: seen.append(len(tokens)) or real(tokens))
    images = list(icons["x_test"][:4])
    first = learned.predict(images)
    learned.predict(images)
    assert seen == [3]
    learned.learn(*task(icons, [3, 4]))
    seen.clear()
    again = learned.predict(images)
    assert seen == [5]
    assert not np.array_equal(first.probabilities, again.probabilities[:, :3])


def test_texts_encoded_during_training_are_not_used_afterwards(model, icons):
    """Texts that are encoded between two steps must not stay in the cache, because the next step changes them."""
    images = list(icons["x_test"][:4])
    names = [str(name) for name in icons["class_names"][:3]]
    model.learn(*task(icons, [0, 1, 2]), on_step=lambda step: model.encoder.texts(names))
    seen = model.predict(images).probabilities
    model.backbone.weights_changed()
    assert np.array_equal(seen, model.predict(images).probabilities)


def test_two_classes_may_share_a_text(tiny_clip, quick, icons, tmp_path):
    """Their text logits are the same, and the head tells them apart."""
    images, labels, _ = task(icons, [0, 1])
    model = MGCLIP.from_pretrained(tiny_clip, settings=quick)
    model.learn(images, labels, ["missile", "missile #2"], class_texts=["missile", "missile"])
    model.save_pretrained(tmp_path / "shop")
    model = MGCLIP.from_pretrained(tmp_path / "shop")
    assert (model.class_names, model.class_texts) == (("missile", "missile #2"), ("missile", "missile"))
    features = model.encoder.images(model.encoder.pixels(images))
    logits = model.text_logits(features, model.class_texts)
    assert torch.equal(logits[:, 0], logits[:, 1])
    assert set(model.predict(images).names) == {"missile", "missile #2"}
    with pytest.raises(InputError, match="Each class needs a text: found 1 class_names and 2 class_texts"):
        model.learn(*task(icons, [3]), class_texts=["a", "b"])


@pytest.mark.parametrize("memory", [0, 20])
def test_epochs_reported_are_epochs_trained(tiny_clip, quick, icons, memory):
    model = MGCLIP.from_pretrained(tiny_clip, settings=quick.model_copy(update={"epochs": 2, "memory": memory}))
    for classes in ([0], [1, 2], [3]):
        steps = []
        learned = model.learn(*task(icons, classes), on_step=steps.append)
        assert learned.epochs == max((step.epoch for step in steps if step.phase == "adapter"), default=0)
        assert (learned.epochs == 2) == (len(classes) > 1 or (memory > 0 and classes != [0]))


@pytest.mark.parametrize("templates", ["a photo of a {}.", ["a {}.", "a good photo of a {}."]])
@pytest.mark.parametrize("part", [3, 1000])
def test_texts_that_the_clip_cannot_tell_apart_are_a_warning(tiny_clip, icons, templates, part, monkeypatch):
    monkeypatch.setattr("mgclip.method.alike_texts.PART", part)  # the padding of a text depends on its part
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=0, prompt=templates))
    with pytest.warns(AlikeTexts, match="The texts 'star' and 'STAR' are the same to this CLIP") as found:
        model.learn(*task(icons, [0, 1])[:2], ["a", "b"], class_texts=["star", "STAR"])
    assert found[0].filename == __file__
    with pytest.warns(AlikeTexts, match="The texts 'star' and 'Star'"):
        model.learn(*task(icons, [2])[:2], ["c"], class_texts=["Star"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(*task(icons, [3])[:2], ["d"], class_texts=["the tree of a star"])
    with pytest.warns(AlikeTexts, match="The texts 'star' and 'stAR'"):
        model.learn(*task(icons, [4])[:2], ["e"], class_texts=["stAR"])
