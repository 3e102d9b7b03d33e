"""Methods and data sets of other packages: the three examples, and packages with bugs."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from own_packages import EXAMPLES, NAMES, entry_points, forget_registered, put_package
from PIL import Image
from pydantic import BaseModel
from runs import run, stop_after

from mgclip import (
    MGCLIP,
    Dataset,
    DatasetEntry,
    FeatureClassifier,
    Method,
    Split,
    load_learner,
    register_dataset,
    register_method,
)
from mgclip.errors import InputError, MGCLIPError
from mgclip.experiment.recipe import Recipe, load_recipe
from mgclip.experiment.run_folder import read_recipe
from mgclip.method.methods import METHODS, method_settings, settings_of_new_model
from mgclip.stream.datasets import DATASETS, load_dataset

OWN = ["looser-limit", "gaussian-classes", "learned-context"]


@pytest.fixture
def recipe(own_packages, tiny_clip):
    return Recipe(
        name="own", data="shapes", clip=str(tiny_clip), classes_per_task=2, class_order="dataset", methods=OWN,
        max_epochs=2, adapter_batch_size=8, head_epochs=1, learned_context_epochs=2, learned_context_batch_size=8,
    )  # fmt: skip


def test_the_examples_are_known_by_their_entry_points(own_packages, mgclip):
    assert set(OWN) <= set(METHODS)
    assert "shapes" in DATASETS
    assert METHODS.package("gaussian-classes") == "gaussian-classes"
    assert METHODS["learned-context"].has_classifier
    assert method_settings("looser-limit", load_recipe("icons100").settings()).alpha == 0.2
    assert settings_of_new_model("looser-limit", {}) == {"alpha": 0.2}
    assert load_dataset("shapes", path=None).class_names[:2] == ("circle", "cross")
    assert json.loads(mgclip("data", "list", "--json")[1])["shapes"]["classes"] == 6
    code, out, _ = mgclip("data", "check", "shapes")
    assert (code, "shapes from " in out) == (0, True)


def test_settings_of_a_method_stand_in_a_recipe_and_are_checked_by_its_own_model(own_packages):
    recipe = load_recipe("icons100", ["methods=gaussian-classes", "gaussian_classes_shrinkage=0.5"])
    assert recipe.model_dump()["gaussian_classes_shrinkage"] == recipe.own["gaussian_classes_shrinkage"] == 0.5
    assert Recipe(name="x", methods=["gaussian-classes"]).own == {"gaussian_classes_shrinkage": 0.1}
    assert Recipe(name="x").own == {}
    with pytest.raises(InputError) as wrong:
        load_recipe(
            "icons100", ["methods=gaussian-classes", "gaussian_classes_shrinkage=2", "seed=-1", "gaussian_classes_width=2"]
        )
    for sentence in ("gaussian_classes_shrinkage must be at most 1; found 2", "seed must be at least 0; found -1"):
        assert sentence in str(wrong.value)
    assert "there is no key gaussian_classes_width" in str(wrong.value)


def test_methods_of_other_packages_run_resume_predict_and_appear_in_reports(recipe, tmp_path, mgclip):
    complete = run(recipe, tmp_path / "complete")
    assert read_recipe(tmp_path / "complete").own["learned_context_keep"] == 10.0
    versions = json.loads((tmp_path / "complete" / "environment.json").read_text())["packages"]
    assert [versions[name] for name in NAMES] == [version(name) for name in NAMES]
    for method in OWN:
        stop_after(2, recipe, tmp_path / "part", method=method, resume=(tmp_path / "part").exists())
    run(recipe, tmp_path / "part", resume=True)
    again = json.loads((tmp_path / "part" / "summary.json").read_text())
    assert {m: {**s, "seconds": 0} for m, s in again.items()} == {m: {**s, "seconds": 0} for m, s in complete.items()}
    test = load_dataset("shapes", path=None).test
    for method in OWN:
        model = load_learner(tmp_path / "part" / method / "model")
        found = model.classify(model.encoder.images(model.encoder.pixels(test.images)))
        assert np.mean(found.labels == test.labels) == complete[method]["last"]
        np.testing.assert_allclose(found.confidence.sum(1), 1, atol=1e-5)
        assert model.predict(list(test.images)).names == found.names
        assert repr(model).startswith((f"<{method} of ", "<MGCLIP of ")) and "'circle'" in repr(model)
    Image.fromarray(test.images[0]).save(tmp_path / "circle.png")
    model = tmp_path / "part" / "gaussian-classes" / "model"
    assert mgclip("history", model)[1].endswith("it was saved by a program or a run.\n"), "`mgclip learn` adds no version to it"
    with pytest.raises(
        InputError, match=r"holds the method gaussian-classes, not an MGCLIP model: open it with `mgclip.load_learner`"
    ):
        MGCLIP.from_pretrained(model)
    code, out, err = mgclip("predict", model, tmp_path / "circle.png", "--candidates", "a zebra", "--json", "--top", "9")
    assert code == 0, err
    assert {each["class"] for each in json.loads(out)["top"]} >= {"circle", "a zebra"}
    assert mgclip("report", tmp_path / "part")[0] == 0
    assert "gaussian-classes" in (tmp_path / "part" / "report.html").read_text()


def test_the_gaussian_example_is_linear_discriminant_analysis(own_packages, backbone):
    from learned import feature_tasks
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    module = importlib.import_module("gaussian_classes")
    model = module.GaussianClasses(backbone, None, module.GaussianSettings(shrinkage=0.3))
    parts = feature_tasks(backbone.feature_dim, [3, 2], 40)
    for part in parts:
        model.learn(part, lambda step: None)
    x = torch.nn.functional.normalize(torch.cat([part.features for part in parts]), dim=-1).numpy().astype(np.float64)
    y = torch.cat([part.labels for part in parts]).numpy()
    exact = LinearDiscriminantAnalysis(solver="lsqr", priors=np.full(5, 0.2), shrinkage=0.3).fit(x, y).predict(x)
    found = model.scores(torch.cat([part.features for part in parts]), None).argmax(1).numpy()
    assert (found == exact).mean() > 0.99


def test_a_learned_context_moves_the_texts_and_saves_its_vector(recipe, tmp_path):
    losses = []
    changed = recipe.model_copy(update={"methods": ["learned-context"], "tasks": 1})
    run(changed, tmp_path / "run", on_step=lambda step: losses.append((step.phase, step.loss)))
    assert {phase for phase, _ in losses} == {"learned-context"}
    model = load_learner(tmp_path / "run" / "learned-context" / "model")
    assert model.classifier.context.abs().max() > 0
    plain = model.encoder.texts(model.class_texts)
    assert 1e-6 < (model.classifier.text_features(model.encoder, model.class_texts) - plain).abs().max() < 0.5


class Failing(FeatureClassifier):
    """Fails as ``own`` says."""

    learned = ("seen",)

    def learn(self, task, on_step):
        self.seen = torch.zeros(1)
        if METHODS["failing"].about == "learn":
            raise KeyError("weights")
        if METHODS["failing"].about == "file":
            Path("weights.pt").read_bytes()

    def scores(self, features, texts):
        scores = features.new_zeros(len(features), 1 if METHODS["failing"].about == "shape" else len(texts))
        wrong = {
            "nan": scores / 0,
            "infinite": scores - torch.inf,
            "integers": scores.long(),
            "array": scores.cpu().numpy(),
            "none": None,
        }
        return wrong.get(METHODS["failing"].about, scores)

    def text_features(self, encoder, class_texts):
        texts = super().text_features(encoder, class_texts)
        return {"texts": texts[:, 1:], "nan texts": texts * torch.nan}.get(METHODS["failing"].about, texts)


@pytest.fixture
def failing():
    yield lambda about, **more: register_method("failing", Method(about, "here", **({"classifier": Failing} | more)))
    forget_registered()


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        (
            "learn",
            r"The method failing of the package tests failed when it learned task 1 \(KeyError: 'weights'\): report",
        ),
        ("file", r"failed when it learned task 1 \(FileNotFoundError: .*weights.pt"),
        ("shape", r"failed when it scored images \(ValueError: scores must have the shape \(8, 2\); found \(8, 1\)\)"),
        ("nan", r"failed when it scored images \(ValueError: scores must be numbers; found NaN\)"),
        ("infinite", r"\(ValueError: the largest score of an image must be finite; found infinity\)"),
        ("integers", r"\(ValueError: scores must be a floating-point tensor; found torch.int64\)"),
        ("array", r"\(ValueError: scores must be a floating-point tensor; found ndarray\)"),
        ("none", r"\(ValueError: scores must be a floating-point tensor; found NoneType\)"),
        (
            "texts",
            r"failed when it compared images with texts \(ValueError: text features must have the shape \(2, 24\); found \(2, 23\)\)",
        ),
        ("nan texts", r"failed when it compared images with texts \(ValueError: text features must be numbers; found NaN\)"),
    ],
)
def test_a_method_with_a_bug_is_named_with_its_package(failing, small, tmp_path, about, sentence):
    failing(about)
    with pytest.raises(MGCLIPError, match=sentence) as raised:
        run(small.model_copy(update={"methods": ["failing"], "retention": {}}), tmp_path / "run")
    assert raised.value.__cause__ is not None


def test_a_method_of_a_script_is_of_this_program(failing, small, tmp_path, monkeypatch):
    failing("learn")
    monkeypatch.setitem(METHODS._packages, "failing", "__main__")
    with pytest.raises(MGCLIPError, match=r"^The method failing of this program failed when it learned task 1 .*: correct it; "):
        run(small.model_copy(update={"methods": ["failing"], "retention": {}}), tmp_path / "run")


def test_only_a_saved_model_is_loaded(tmp_path):
    with pytest.raises(InputError, match="is not a saved model"):
        load_learner("iconclip")
    with pytest.raises(InputError, match="is not a saved model"):
        load_learner(tmp_path / "none")


def test_a_package_that_cannot_be_imported_is_named(own_packages, mgclip):
    put_package(own_packages, "broken-one", "broken_one", "1 / 0\n", "[mgclip.methods]\nbroken = broken_one:METHOD\n")
    code, _, err = mgclip("run", "methods=broken")
    sentence = "The method broken of the package broken-one cannot be loaded from broken_one:METHOD (ZeroDivisionError: division by zero)"
    assert (code, sentence in err) == (2, True), err
    assert mgclip("recipes")[0] == 0


@pytest.mark.parametrize(
    ("name", "method", "sentence"),
    [
        ("rapf", Method("", ""), "has the name of a method of mg-clip"),
        ("My Method", Method("", ""), "needs another name: use lower-case letters, digits and hyphens"),
        ("mine", {"alpha": 1}, "must be a Method; found dict"),
        ("mine", Method("", "", changes={"alhpa": 0.2}), r"there is no key alhpa: did you mean alpha\?"),
        (
            "mine",
            Method("", "", changes={"compensation": "analytic"}),
            "compensation analytic and fusion calibrated belong together",
        ),
        ("mine", Method("", "", settings=dict), "settings must be a pydantic model"),
        ("mine", Method("", "", classifier=object), "classifier must be a subclass of FeatureClassifier; found <class 'object'>"),
        ("mine", Method("", "", classifier=len), "classifier must be a subclass of FeatureClassifier; found <built-in"),
    ],
)
def test_a_method_that_cannot_work_is_refused_when_it_is_registered(name, method, sentence):
    with pytest.raises(InputError, match=sentence):
        register_method(name, method)
    assert "mine" not in METHODS


def test_a_setting_with_the_name_of_a_setting_of_recipes_is_refused():
    class PerClass(BaseModel):
        per_class: int = 1

    register_method("train", Method("", "here", classifier=Failing, settings=PerClass))
    try:
        with pytest.raises(InputError, match="the setting train_per_class of a method has the name of a setting of recipes"):
            Recipe(name="x", methods=["train"])
    finally:
        forget_registered()


@pytest.mark.parametrize(
    ("learned", "sentence"),
    [
        (
            ("seen", "forgotten"),
            "In the method failing, the attribute forgotten in `learned` must be a tensor; found no such attribute",
        ),
        (("seen", "own"), "In the method failing, the attribute own in `learned` must be a tensor; found NoneType"),
        ("seen", r"failing of the package tests needs a tuple in `learned`, such as \('seen',\); found 'seen'"),
    ],
)
def test_what_cannot_be_saved_is_named(failing, small, tmp_path, learned, sentence):
    failing("", classifier=type("Other", (Failing,), {"learned": learned}))
    with pytest.raises(MGCLIPError, match=sentence):
        run(small.model_copy(update={"methods": ["failing"], "retention": {}}), tmp_path / "run")


@pytest.mark.parametrize(
    ("classifier", "sentence"),
    [
        ("math:sqrt", "failing of the package tests must be a subclass of FeatureClassifier; found <built-in"),
        (
            "nowhere:Thing",
            r"failing of the package tests failed when it was imported \(ModuleNotFoundError: No module named 'nowhere'\)",
        ),
        ("math:Thing", r"failed when it was imported \(AttributeError: module 'math' has no attribute 'Thing'\)"),
    ],
)
def test_a_classifier_that_cannot_be_used_is_refused_before_anything_is_written(failing, small, tmp_path, classifier, sentence):
    failing("", classifier=classifier)
    with pytest.raises(MGCLIPError, match=sentence):
        run(small.model_copy(update={"methods": ["failing"], "retention": {}}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_data_set_that_fails_is_named_with_its_package():
    split = Split([np.zeros((8, 8, 3), np.uint8)], np.array([0]))
    try:
        for make, sentence in (
            (
                lambda test_only: 1 / 0,
                r"The data set mine of the package tests failed when it made its images \(ZeroDivis",
            ),
            (lambda test_only: split, "expected a Dataset; found Split"),
        ):
            register_dataset("mine", DatasetEntry("mine", "here", make=make))
            with pytest.raises(MGCLIPError, match=sentence):
                load_dataset("mine", path=None)
        register_dataset("mine", DatasetEntry("mine", "here", make=lambda test_only: Dataset("mine", ("a", "b"), split, split)))
        with pytest.raises(InputError, match="The class 'b' of mine has no training image"):
            load_dataset("mine", path=None)
    finally:
        forget_registered()


@pytest.mark.slow
def test_the_examples_can_be_installed(tmp_path):
    pytest.importorskip("setuptools", reason="setuptools, which builds the examples, is not installed")
    target = tmp_path / "site"
    shutil.copytree(EXAMPLES, tmp_path / "examples")  # a build leaves files next to the sources
    folders = [str(tmp_path / "examples" / name) for name in NAMES]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(target), *folders]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        about = next(target.glob(f"{name.replace('-', '_')}-*.dist-info"))
        installed, stated = ConfigParser(), ConfigParser()
        installed.read(about / "entry_points.txt")
        stated.read_string(entry_points((EXAMPLES / name / "pyproject.toml").read_text()))
        assert installed == stated
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])}
    words = ["data=shapes", f"methods={','.join(OWN)}", "classes_per_task=3", "max_epochs=1", "head_epochs=0", "retention={}"]
    command = [sys.executable, "-m", "mgclip", "run", "icons100", *words, "--out", str(tmp_path / "run"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["methods"]) == OWN
