"""Learners of a frozen CLIP: what they adapt first, and which files they refuse."""

import inspect
import json
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from icon_tasks import task
from own_packages import forget_registered
from runs import run

from mgclip import MGCLIP, FeatureClassifier, Method, register_method
from mgclip.clip.adapters import adapter_state
from mgclip.clip.load import load_backbone
from mgclip.errors import InputError, MGCLIPError
from mgclip.method.baselines import feature_learner
from mgclip.method.baselines.feature_learner import FeatureLearner
from mgclip.method.baselines.make import load_learner, make_learner


def test_the_files_of_another_method_are_refused(small, tmp_path):
    run(small.model_copy(update={"methods": ["rapf"], "tasks": 1}), tmp_path / "run")
    backbone = load_backbone(small.clip)
    with pytest.raises(InputError, match="holds the method rapf, not ranpac"):
        make_learner("ranpac", backbone, small.settings(), small.own, tmp_path / "run" / "rapf" / "model")


def test_ranpac_trains_the_adapters_of_the_recipe_on_the_first_task_only(small, icons):
    settings = small.settings().model_copy(update={"epochs": 2, "projections": "kvqo", "adapter_lr": 1e-2})
    backbone = load_backbone(small.clip)
    learner = make_learner("ranpac", backbone, settings, small.own)
    start = adapter_state(backbone)
    assert {name.split(".")[2] for name in start} == {"k", "v", "q", "o"}
    assert learner.learn(*task(icons, [0, 1, 2])).epochs == 2
    first = adapter_state(backbone)
    assert any(not torch.equal(first[name], start[name]) for name in start)
    assert learner.learn(*task(icons, [3, 4])).epochs == 0
    assert learner.epochs == 2
    assert all(torch.equal(weight, first[name]) for name, weight in adapter_state(backbone).items())
    bare = make_learner("ranpac", backbone, settings, {**small.own, "ranpac_first_task_adapter": False})
    bare.learn(*task(icons, [0, 1, 2]))
    assert all(torch.equal(weight, start[name]) for name, weight in adapter_state(backbone).items())


METHODS_OF_THEIR_OWN = ["ranpac", "acil", "rapf"]


@pytest.mark.parametrize("method", METHODS_OF_THEIR_OWN)
def test_a_mode_of_the_caller_changes_no_result(small, icons, method, tmp_path):
    def learned():
        learner = make_learner(method, load_backbone(small.clip), small.settings(), small.own)
        learner.learn(*task(icons, [0, 1, 2]))
        return learner.predict(list(icons["x_test"][:6])).head_scores, learner

    expected, learner = learned()
    learner.save_pretrained(tmp_path / "model")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            found, _ = learned()
            loaded = load_learner(tmp_path / "model", base=small.clip)
            again = loaded.predict(list(icons["x_test"][:6])).head_scores
    finally:
        torch.set_default_dtype(torch.float32)
    assert (found == expected).all()
    assert (again == expected).all()


@pytest.mark.parametrize("method", METHODS_OF_THEIR_OWN)
def test_features_that_are_not_finite_are_refused(small, icons, monkeypatch, method):
    learner = make_learner(method, load_backbone(small.clip), small.settings(), small.own)
    real = learner.encoder.images
    monkeypatch.setattr(learner.encoder, "images", lambda *images, **options: real(*images, **options) * float("nan"))
    with pytest.raises(InputError, match="gives NaN or infinite features"):
        learner.learn(*task(icons, [0, 1, 2]))
    assert learner.class_names == ()


def test_a_loaded_model_learns_known_classes_only(small, icons, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    learner = make_learner("acil", load_backbone(small.clip), small.settings(), small.own)
    learner.learn(*task(icons, [0, 1, 2]))
    learner.save_pretrained("~/model")
    loaded = load_learner("~/model", base=small.clip)
    images, _, names = task(icons, [0, 1, 2])
    loaded.learn(images[:4], [0] * 4, names[:1])
    assert (loaded.task_sizes, len(loaded.class_names)) == ((3, 0), 3)
    loaded.save_pretrained("~/model")
    assert load_learner("~/model", base=small.clip).task_sizes == (3, 0)


def test_a_device_that_is_not_there_is_refused(small, icons, tmp_path):
    learner = make_learner("acil", load_backbone(small.clip), small.settings(), small.own)
    learner.learn(*task(icons, [0, 1, 2]))
    learner.save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="The device 'cuda:99' cannot be used on this machine"):
        load_learner(tmp_path / "model", base=small.clip, device="cuda:99")


@pytest.mark.parametrize(("key", "value"), [("task_sizes", [2]), ("task_sizes", ["a"]), ("class_texts", ["only one"])])
def test_a_manifest_whose_parts_do_not_fit_is_damaged(small, icons, tmp_path, key, value):
    learner = make_learner("acil", load_backbone(small.clip), small.settings(), small.own)
    learner.learn(*task(icons, [0, 1, 2]))
    learner.save_pretrained(tmp_path / "model")
    for file in tmp_path.rglob("mgclip.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(InputError, match=r"mgclip\.json"):
        load_learner(tmp_path / "model", base=small.clip)


class Sums(FeatureClassifier, torch.nn.Module):
    """A module of PyTorch: the sums of each class are a parameter and the number of tasks is a buffer, both changed in place."""

    learned = ("sums", "tasks")
    fails = False

    def __init__(self, backbone, settings, own):
        torch.nn.Module.__init__(self)
        super().__init__(backbone, settings, own)
        self.sums = torch.nn.Parameter(torch.zeros(20, backbone.feature_dim))
        self.register_buffer("tasks", torch.zeros(1))

    def learn(self, task, on_step):
        with torch.no_grad():
            self.sums.index_add_(0, task.labels, F.normalize(task.features, dim=-1))
        self.tasks += 1
        if self.fails:
            raise KeyboardInterrupt

    def scores(self, features, texts):
        return F.normalize(features, dim=-1) @ F.normalize(self.sums[: len(texts)], dim=-1).T


@pytest.fixture
def summing(small):
    """Makes a learner of ``Sums``, or of a class with other attributes."""

    def make(seed=0, **attributes):
        kind = type("Other", (Sums,), attributes)
        register_method("sums", Method("sums", "here", classifier=kind))
        return make_learner("sums", load_backbone(small.clip), small.settings().model_copy(update={"seed": seed}))

    yield make
    forget_registered()


def test_what_a_method_changed_in_place_is_as_before_if_it_is_stopped(summing, icons):
    learner = summing()
    learner.learn(*task(icons, [0, 1, 2]))
    before, sums = learner.predict(list(icons["x_test"][:6])).head_scores, learner.classifier.sums
    learner.classifier.fails = True
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            learner.learn(*task(icons, [3, 4]))
    assert (learner.predict(list(icons["x_test"][:6])).head_scores == before).all()
    assert learner.classifier.sums is sums
    assert learner.classifier.tasks.tolist() == [1]


def test_a_signal_after_the_classifier_has_learned_changes_nothing(small, icons, monkeypatch):
    learner = make_learner("ranpac", load_backbone(small.clip), small.settings(), small.own)
    learner.learn(*task(icons, [0, 1, 2]))
    before, learn, after = learner.predict(list(icons["x_test"][:6])), learner.classifier.learn, []

    def interrupt(backbone):
        if after:
            raise KeyboardInterrupt
        return adapter_state(backbone)

    monkeypatch.setattr(learner.classifier, "learn", lambda *given: after.append(learn(*given)))
    with monkeypatch.context() as patched:
        patched.setattr(feature_learner, "adapter_state", interrupt)
        with pytest.raises(KeyboardInterrupt):
            learner.learn(*task(icons, [3, 4]))
    now = learner.predict(list(icons["x_test"][:6]))
    assert len(learner.class_names) == 3
    assert (now.head_scores == before.head_scores).all()


def test_a_method_may_be_a_module_of_pytorch(summing, icons, tmp_path):
    learner = summing()
    learner.learn(*task(icons, [0, 1, 2]))
    learner.save_pretrained(tmp_path / "model")
    loaded = load_learner(tmp_path / "model", base=learner.backbone.reference)
    assert [name for name, _ in loaded.classifier.named_parameters()] == ["sums"]
    assert loaded.predict(list(icons["x_test"][:6])).names == learner.predict(list(icons["x_test"][:6])).names
    loaded.learn(*task(icons, [3, 4]))
    assert loaded.classifier.tasks.tolist() == [2]


def test_an_attribute_that_cannot_be_set_is_an_error_of_the_method(summing, icons, tmp_path):
    learner = summing(learned=("sums", "tasks", "double"), double=property(lambda self: 2 * self.sums))
    learner.learn(*task(icons, [0, 1, 2]))
    learner.save_pretrained(tmp_path / "model")
    with pytest.raises(MGCLIPError, match="sums of the package tests failed when it was given what it had learned"):
        load_learner(tmp_path / "model", base=learner.backbone.reference)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_scores_may_have_any_floating_point_type(summing, icons, dtype):
    learner = summing(scores=lambda self, features, texts: Sums.scores(self, features, texts).to(dtype))
    learner.learn(*task(icons, [0, 1, 2]))
    found = learner.predict(list(icons["x_test"][:6]), candidates=["zebra"])
    assert {str(values.dtype) for values in (found.confidence, found.head_scores, found.top_confidence)} == {"float32"}
    assert found.confidence.sum(1) == pytest.approx(1, abs=0.02)


def test_every_learner_learns_from_the_same_arguments():
    assert inspect.get_annotations(FeatureLearner.learn) == inspect.get_annotations(MGCLIP.learn)


def subtract_mean(self, features, texts):
    features -= features.mean(0)
    texts *= 2
    return features @ F.normalize(self.sums[: len(texts)], dim=-1).T


def test_a_method_may_change_features_and_texts_in_place(summing, icons):
    learner = summing(scores=subtract_mean)
    learner.learn(*task(icons, [0, 1, 2]))
    features = learner.encoder.images(learner.encoder.pixels(list(icons["x_test"][:6])))
    before, texts = features.clone(), learner.encoder.texts(learner.class_texts)
    assert (learner.head_scores(features) == learner.head_scores(features)).all()
    assert (features == before).all()
    assert (learner.encoder.texts(learner.class_texts) == texts).all()


def draw(self, *given):
    numbers = [torch.rand(1).item(), float(np.random.rand()), random.random()]
    self.tasks += torch.nn.functional.dropout(torch.ones(64)).sum()
    self.drawn = [*getattr(self, "drawn", []), numbers]


def test_random_numbers_of_a_method_depend_on_its_seed_and_task_only(summing, icons):
    def drawn(seed, used):
        torch.rand(used), np.random.rand(used), [random.random() for _ in range(used)]
        learner = summing(learn=draw, seed=seed)
        learner.learn(*task(icons, [0, 1]))
        learner.learn(*task(icons, [2, 3]))
        return *learner.classifier.drawn, learner.classifier.tasks.item()

    first, again, other = drawn(0, used=1), drawn(0, used=5), drawn(1, used=1)
    assert first == again
    assert first[0] != first[1]
    assert all(a != b for a, b in zip(first[0], other[0], strict=True))


def test_random_numbers_of_the_program_continue_after_a_method(summing, icons):
    def rolled():
        return torch.rand(1).item(), float(np.random.rand()), random.random()

    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = rolled()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    summing(learn=draw).learn(*task(icons, [0, 1]))
    assert rolled() == expected


def train_logit_scale(self, task, on_step):
    with torch.no_grad():
        self.backbone.model.logit_scale += 0.1


def test_a_method_that_changes_the_shared_clip_is_an_error(summing, icons):
    with pytest.raises(MGCLIPError, match=r"sums of .* changed the weight logit_scale of the CLIP, which all methods"):
        summing(learn=train_logit_scale).learn(*task(icons, [0, 1]))
