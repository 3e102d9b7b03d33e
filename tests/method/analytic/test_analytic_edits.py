"""A model with a solved head is edited without training: corrected, forgotten, renamed, merged."""

import numpy as np
import pytest
import torch
from icon_tasks import task
from solved_models import SETTINGS, equal, names_of, some, state

from mgclip import MGCLIP, Settings
from mgclip.errors import InputError


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
    model.encoder.images = None  # no image is encoded in vain
    for right in (names[:1], ["zebra"], []):  # that the head is a trained one comes first
        with pytest.raises(InputError, match=r"trained head cannot correct single images: only a solved head"):
            model.correct(images[:1], right)
    for name in (names[0], "zebra"):
        with pytest.raises(InputError, match=r"Only a solved head can forget images; .*: give no images"):
            model.forget(name, images=images[:12])
    for one, other in ((model, learned), (learned, model), (model, model)):
        with pytest.raises(InputError, match=r"A model with a trained head cannot merge"):
            one.merge(other)
    with pytest.raises(InputError, match="text_weight has no effect on a model with a trained head"):
        model.change_settings(text_weight="heavy")
    assert model.class_names == tuple(names)


def test_an_unknown_class_is_refused_before_any_image_is_encoded(learned, icons):
    learned.encoder.images = None
    with pytest.raises(InputError, match="has not learned the class 'zebra'"):
        learned.correct(list(icons["x_train"][:1]), ["zebra"])
    with pytest.raises(InputError, match="has not learned the class 'zebra'"):
        learned.forget("zebra", images=list(icons["x_train"][:1]))


def test_a_model_that_has_learned_nothing_says_so(make, learned, icons):
    empty = make()
    with pytest.raises(InputError, match=r"A model that has learned no class cannot correct single images: learn a first task"):
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
        with pytest.raises(
            InputError, match=r"These are not the images from which '.+' was learned \(learned: 12, given: 1[123]"
        ):
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
        ({"gamma": 0.25}, r"differ in their gamma \(0\.5 and 0\.25\), .* start the second model with --like"),
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


def test_models_of_different_clips_or_adapters_are_not_merged(two, icons):
    one, other = two()
    before = state(one)
    with pytest.raises(InputError, match="A model cannot be merged with itself"):
        one.merge(one)
    with torch.no_grad():
        for name, weight in other.backbone.peft_model.named_parameters():
            if "lora_B" in name:
                weight.add_(0.01)
                break
    with pytest.raises(InputError, match=r"The adapters of the models differ, so they cannot be merged: start the second model"):
        one.merge(other)
    other = MGCLIP.from_pretrained("iconclip", settings=SETTINGS)
    other.learn(*task(icons, [0, 1]))
    with pytest.raises(InputError, match=r"The models have different CLIPs, so they cannot be merged: start the second model"):
        one.merge(other)
    assert state(one) == before
