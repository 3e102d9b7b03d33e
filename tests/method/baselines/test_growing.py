"""Methods that can learn more images of classes that they know: the result is that of all images at once."""

import numpy as np
import pytest
import torch
from icon_tasks import task

from mgclip import MGCLIP, Settings
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError
from mgclip.method.baselines.make import make_learner
from mgclip.method.methods import METHODS, Method, can_grow, check_method

OWN = {"ranpac_width": 30, "acil_width": 30}
MEANS = Settings(epochs=0, head_epochs=0, branches="image")


def parts(icons):
    """Classes 0 to 4 in two tasks: the last three images of class 1 come back in the second one, between new classes."""
    images, labels, names = task(icons, [0, 1, 2])
    back = [place for place, label in enumerate(labels) if label == 1][-3:]
    first = [place for place in range(len(labels)) if place not in back]
    more, of_more, new = task(icons, [3, 4])
    one = [images[p] for p in first], [labels[p] for p in first], names
    two = [*more, *(images[p] for p in back)], [2 * label for label in of_more] + [1, 1, 1], [new[0], names[1], new[1]]
    return one, two


GROWING = [method for method in METHODS if can_grow(method, Settings()) and not METHODS[method].joint]


def test_the_methods_that_grow():
    assert {"zero-shot", "simplecil", "ranpac", "acil", "mg-clip-analytic", "mg-clip-analytic-adapt"} <= set(GROWING)
    assert not {"fine-tune", "align", "rapf", "mg-clip", "mg-clip-replay", "compensation-only"} & set(GROWING)
    assert can_grow("joint", Settings())
    assert can_grow("compensation-only", Settings(head_epochs=0))
    assert not can_grow("mg-clip", Settings(epochs=0))


@pytest.mark.parametrize("method", GROWING)
def test_a_class_that_comes_back_grows(tiny_clip, icons, method):
    learner = make_learner(method, load_backbone(tiny_clip), Settings(epochs=1, features=64), OWN)
    for images, labels, names in parts(icons):
        learner.learn(images, labels, names)
    assert learner.class_names == tuple(str(name) for name in icons["class_names"][:5])
    assert learner.task_sizes == (3, 2)


@pytest.mark.parametrize("method", ["simplecil", "acil"])  # nothing in these depends on the first task
def test_the_result_is_that_of_all_images_at_once(tiny_clip, icons, method):
    grown, once = (make_learner(method, load_backbone(tiny_clip), Settings(), OWN) for _ in range(2))
    for part in parts(icons):
        grown.learn(*part)
    once.learn(*task(icons, [0, 1, 2, 3, 4]))
    features = once.encoder.images(once.encoder.pixels(list(icons["x_test"][:20])))
    torch.testing.assert_close(grown.head_scores(features), once.head_scores(features), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", sorted(METHODS.keys() - set(GROWING)))
def test_other_methods_refuse_a_known_class(tiny_clip, icons, method):
    learner = make_learner(method, load_backbone(tiny_clip), Settings(epochs=1, memory=20), {"rapf_epochs": 1})
    one, two = parts(icons)
    learner.learn(*one)
    with pytest.raises(InputError, match="was learned before"):
        learner.learn(*two)
    assert learner.class_names == tuple(one[2])


def test_class_means_grow_after_they_were_saved_and_a_class_was_forgotten(tiny_clip, icons, tmp_path):
    one, two = parts(icons)
    model = MGCLIP.from_pretrained(tiny_clip, settings=MEANS)
    model.learn(*one)
    model.forget(one[2][0])
    model.save_pretrained(tmp_path / "model")
    model = MGCLIP.from_pretrained(tmp_path / "model")
    model.learn(*two)
    assert model.counts.tolist() == [12, 12, 12, 12]
    features = model.encoder.images(model.encoder.pixels(list(icons["x_train"][12:24])))
    place = model.class_names.index(one[2][1])
    np.testing.assert_allclose(model.head[place].numpy(), features.numpy().mean(0), atol=1e-6)


def test_class_means_of_an_earlier_version_do_not_grow(tiny_clip, icons, tmp_path):
    from safetensors.torch import load_file, save_file

    one, two = parts(icons)
    model = MGCLIP.from_pretrained(tiny_clip, settings=MEANS)
    model.learn(*one)
    model.save_pretrained(tmp_path / "model")
    file = next((tmp_path / "model").glob("mgclip-state-*/head.safetensors"))
    named = load_file(file)
    assert named.pop("counts").tolist() == [12, 9, 12]
    save_file(named, file)  # as version 0.1 wrote it
    model = MGCLIP.from_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="was learned before, and a trained head cannot grow"):
        model.learn(*two)
    model.learn(*task(icons, [3]))
    model.save_pretrained(tmp_path / "model")
    assert len(MGCLIP.from_pretrained(tmp_path / "model").class_names) == 4


def test_ranpac_learns_the_same_sums_if_a_class_comes_back(tiny_clip, icons):
    grown, once = (make_learner("ranpac", load_backbone(tiny_clip), Settings(), OWN) for _ in range(2))
    for part in parts(icons):
        grown.learn(*part)
    once.learn(*task(icons, [0, 1, 2, 3, 4]))
    torch.testing.assert_close(grown.classifier.gram, once.classifier.gram)
    torch.testing.assert_close(grown.classifier.targets, once.classifier.targets)


def test_grows_is_for_methods_with_a_classifier():
    with pytest.raises(ValueError, match="grows applies to a method with a classifier only"):
        check_method(Method(about="a", source="b", grows=True))
