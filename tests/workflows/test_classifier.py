"""The scikit-learn classifier: its own behaviour, and scikit-learn's estimator checks."""

import pickle
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from mgclip import MGCLIP, MGCLIPClassifier, Settings
from mgclip.errors import InputError
from mgclip.method.methods import ANALYTIC

SMALL = {"features": 64}


@pytest.fixture
def classifier(tiny_clip):
    return MGCLIPClassifier(str(tiny_clip), settings=SMALL)


def some(icons, classes, split="train"):
    x, y, names = icons[f"x_{split}"], icons[f"y_{split}"], icons["class_names"]
    picked = np.isin(y, classes)
    return x[picked], np.array([str(names[label]) for label in y[picked]])


def test_learns_classes_one_after_another_and_keeps_columns_in_order(classifier, icons):
    x, y = some(icons, [4, 5])
    assert classifier.partial_fit(x, y) is classifier
    later, labels = some(icons, [0, 1])
    classifier.partial_fit(later, labels, classes=np.unique(labels))
    assert classifier.classes_.tolist() == sorted({*y, *labels})
    everything, truth = some(icons, [0, 1, 4, 5], "test")
    probability = classifier.predict_proba(everything)
    assert probability.shape == (16, 4)
    assert probability.sum(1) == pytest.approx(np.ones(16))
    assert classifier.classes_[probability.argmax(1)].tolist() == classifier.predict(everything).tolist()
    again = classifier.model_.predict(everything)
    for column, name in enumerate(classifier.classes_):
        assert probability[:, column] == pytest.approx(again.confidence[:, again.classes.index(name)], abs=1e-6)
    assert classifier.score(everything, truth) == np.mean(classifier.predict(everything) == truth)


def test_known_classes_grow_and_a_trained_head_refuses_them(classifier, icons):
    x, y = some(icons, [0, 1])
    classifier.partial_fit(x[:18], y[:18])
    later, labels = some(icons, [1, 2])
    classifier.partial_fit(np.concatenate([x[18:], later[12:]]), np.concatenate([y[18:], labels[12:]]))
    assert classifier.classes_.tolist() == sorted({*y, *labels})
    assert classifier.labels_.tolist() == list(classifier.model_.class_names)
    at_once = clone(classifier).partial_fit(*some(icons, [0, 1, 2]))
    assert classifier.model_.solved.sums.counts.tolist() == at_once.model_.solved.sums.counts.tolist() == [12, 12, 12]
    trained = MGCLIPClassifier(classifier.clip, method="mg-clip", settings={"epochs": 0, "head_epochs": 0}).partial_fit(x, y)
    with pytest.raises(InputError, match="was learned before: with a trained head, partial_fit takes new classes only"):
        trained.partial_fit(later, labels)


def test_the_method_is_chosen_by_name(tiny_clip, icons):
    x, y = some(icons, [0, 1])
    means = MGCLIPClassifier(tiny_clip, method="simplecil").fit(x, y)
    assert (means.model_.settings.branches, means.model_.settings.compensation) == ("image", "trained")
    assert MGCLIPClassifier(tiny_clip, settings=SMALL).fit(x, y).model_.settings == Settings(
        **ANALYTIC, **SMALL, precision="auto"
    )
    with pytest.raises(InputError, match="ranpac runs on streams only"):
        MGCLIPClassifier(tiny_clip, method="ranpac").fit(x, y)
    unused = MGCLIPClassifier(tiny_clip, settings={**SMALL, "head_lr": 0.1})
    with pytest.warns(UserWarning, match="does not use these settings, so they have no effect: head_lr") as found:
        unused.fit(x, y)
    assert (str(found[0].message).split()[0], found[0].filename) == ("mg-clip-analytic", __file__)


def test_fit_starts_again_and_takes_pictures_and_paths(classifier, icons, tmp_path):
    x, y = some(icons, [0, 1])
    classifier.fit(x, y)
    first = classifier.predict_proba(x)
    files = []
    for number, image in enumerate(x):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(files[-1])
    assert clone(classifier).fit(files, y).predict_proba(files) == pytest.approx(first, abs=1e-6)
    assert classifier.fit([Image.fromarray(image) for image in x], y).predict_proba(x) == pytest.approx(first, abs=1e-6)


def test_labels_may_be_numbers(classifier, icons):
    x, y = some(icons, [0, 1])
    numbers = np.where(y == y[0], 7, 3)
    classifier.set_params(class_texts={7: str(y[0])}).fit(x, numbers)
    assert classifier.classes_.tolist() == [3, 7]
    assert classifier.model_.class_texts == ("3", str(y[0]))
    assert set(classifier.predict(x)) <= {3, 7}
    assert classifier.predict_proba(x).sum(1) == pytest.approx(np.ones(len(x)))


def test_a_saved_model_learns_more_classes(classifier, icons, tmp_path):
    x, y = some(icons, [0, 1])
    classifier.fit(x, y).model_.save_pretrained(tmp_path / "shop")
    later, labels = some(icons, [2, 3])
    more = MGCLIPClassifier(tmp_path / "shop").partial_fit(later, labels)
    assert more.classes_.tolist() == sorted({*y, *labels})


def test_what_cannot_be_learned_is_reported(classifier, icons):
    x, y = some(icons, [0, 1])
    with pytest.raises(InputError, match="There are no images"):
        classifier.fit(x[:0], y[:0])
    with pytest.raises(InputError, match="no key epoch: did you mean epochs"):
        MGCLIPClassifier("iconclip", settings={"epoch": 1}).fit(x, y)


def test_a_saved_model_predicts_at_once(classifier, icons, tmp_path):
    x, y = some(icons, [0, 1])
    classifier.fit(x, y).model_.save_pretrained(tmp_path / "shop")
    saved = MGCLIPClassifier(tmp_path / "shop")
    assert saved.__sklearn_is_fitted__()
    assert saved.predict(x).tolist() == classifier.predict(x).tolist()
    assert MGCLIPClassifier(tmp_path / "shop").predict_proba(x) == pytest.approx(classifier.predict_proba(x), abs=1e-6)
    assert MGCLIPClassifier(tmp_path / "shop").score(x, y) == classifier.score(x, y)
    assert MGCLIPClassifier(tmp_path / "shop").classes_.tolist() == classifier.classes_.tolist()
    with pytest.raises(InputError, match="keeps its own method: leave method out"):
        MGCLIPClassifier(tmp_path / "shop", method="mg-clip").partial_fit(x, y)
    copy = pickle.loads(pickle.dumps(clone(saved)))
    assert "model_" not in vars(copy)
    assert copy.predict(x).tolist() == classifier.predict(x).tolist()
    with pytest.raises(NotFittedError):
        MGCLIPClassifier(tmp_path / "elsewhere").predict(x)
    with pytest.raises(AttributeError, match="classes_"):
        _ = MGCLIPClassifier(tmp_path / "elsewhere").classes_


def test_a_tilde_is_the_home_folder(classifier, icons, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    x, y = some(icons, [0, 1])
    model = classifier.fit(x, y).model_
    model.save_pretrained("~/shop")
    assert (tmp_path / "shop" / "mgclip.json").is_file()
    assert MGCLIP.from_pretrained("~/shop").class_names == model.class_names
    assert MGCLIP.from_pretrained(Path("~/shop")).class_names == model.class_names
    assert MGCLIPClassifier("~/shop").classes_.tolist() == sorted(model.class_names)


@pytest.mark.parametrize(
    "settings",
    [
        {"features": 64, "seed": 3},
        Settings(features=64, seed=3),
        ["features=64", "seed=3"],
        MappingProxyType({"features": 64, "seed": 3}),
    ],
)
def test_settings_may_be_a_mapping_or_settings(tiny_clip, icons, settings):
    x, y = some(icons, [0, 1])
    expected = Settings(**ANALYTIC, features=64, seed=3, precision="auto")
    assert MGCLIPClassifier(tiny_clip, settings=settings).fit(x, y).model_.settings == expected
    if not isinstance(settings, list):
        assert MGCLIP.from_pretrained(tiny_clip, settings=settings).settings == Settings(features=64, seed=3)
    changed = MGCLIPClassifier(tiny_clip, settings=settings).set_params(settings__seed=4)
    assert changed.fit(x, y).model_.settings == Settings(**ANALYTIC, features=64, seed=4, precision="auto")


@pytest.mark.parametrize("settings", ["epochs=0", [("epochs", 0)], 3, {"epochs": -1}, {"epoch": 1}])
def test_other_settings_are_refused(tiny_clip, icons, settings):
    sentence = r"settings must be Settings\(\.\.\.\) or a mapping|In the settings: "
    with pytest.raises(InputError, match=sentence):
        MGCLIPClassifier(tiny_clip, settings=settings).fit(*some(icons, [0, 1]))
    with pytest.raises(InputError, match=sentence):
        MGCLIP.from_pretrained(tiny_clip, settings=settings)


def test_runtime_settings_apply_to_a_new_model_too(tiny_clip):
    assert MGCLIP.from_pretrained(tiny_clip, runtime={"micro_batch_size": 3}).settings.micro_batch_size == 3
    with pytest.raises(InputError, match="may change; found epochs"):
        MGCLIP.from_pretrained(tiny_clip, runtime={"epochs": 0})
    with pytest.raises(InputError, match="runtime must be a mapping"):
        MGCLIP.from_pretrained(tiny_clip, runtime=["micro_batch_size=3"])
    with pytest.raises(InputError, match="There is no saved model at"):
        MGCLIP.from_pretrained(tiny_clip, base=tiny_clip)


@pytest.mark.parametrize("missing", [float("nan"), None, pd.NA, np.nan])
@pytest.mark.parametrize(
    "kind", [list, tuple, pd.Series, lambda y: pd.Series(y).astype("category"), lambda y: np.array(y, dtype=object)]
)
def test_a_missing_label_is_named(classifier, icons, kind, missing):
    x, y = some(icons, [0, 1])
    with pytest.raises(ValueError, match=r"Input y contains NaN: y\[23\] is missing"):
        classifier.fit(x, kind([*y[:-1], missing]))
    with pytest.raises(ValueError, match=r"Input y contains NaN: y\[23\] is missing"):
        classifier.fit(x, kind([*np.arange(23) % 2, missing]))
    assert "model_" not in vars(classifier)


def test_nullable_integers_stay_integers(classifier, icons):
    x, y = some(icons, [0, 1])
    classifier.fit(x, pd.Series((y == y[0]).astype(int), dtype="Int64"))
    assert classifier.classes_.dtype.kind == "i"
    assert classifier.model_.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ({"a": "first", "B": "second"}, "class_texts has the key 'B', which is not a class name"),
        ({0: "first"}, "class_texts has the key 0, which is not a class name"),
        (["first", "second"], "class_texts must be a mapping from label to text; found list"),
        ({"a": None}, "The text of the class 'a' must be words for a prompt; found None"),
        ({"a": ""}, "The text of the class 'a' must be words"),
    ],
)
def test_texts_without_a_label_are_refused(classifier, icons, texts, sentence):
    x, y = some(icons, [0, 1])
    labels = np.where(y == y[0], "a", "b")
    for learn in (classifier.set_params(class_texts=texts).fit, classifier.partial_fit):
        with pytest.raises(InputError, match=sentence):
            learn(x, labels)


def test_keys_of_texts_may_be_strings_or_labels_of_later_classes(classifier, icons):
    x, y = some(icons, [0, 1])
    numbers = np.where(y == y[0], 0, 1)
    classifier.set_params(class_texts={"0": "first", "1": "second"}).fit(x, numbers)
    assert classifier.model_.class_texts == ("first", "second")
    later = MGCLIPClassifier(classifier.clip, settings=SMALL, class_texts={0: "first", 1: "second", 2: "third"})
    later.partial_fit(x, numbers).partial_fit(some(icons, [2])[0], np.full(12, 2))
    assert later.model_.class_texts == ("first", "second", "third")
    some_texts = MGCLIPClassifier(classifier.clip, settings=SMALL, class_texts={2: "third"})
    with pytest.raises(InputError, match="class_texts has the key 2"):
        some_texts.partial_fit(x, numbers)
    some_texts.partial_fit(x, numbers, classes=[0, 1, 2])
    assert some_texts.model_.class_texts == ("0", "1")


def test_a_series_is_read_by_position(tiny_clip, icons):
    import pandas as pd

    from mgclip import MGCLIPClassifier

    x, y = [Image.fromarray(image) for image in icons["x_train"][:36]], icons["class_names"][icons["y_train"][:36]]
    frame = pd.DataFrame({"image": x, "label": y}).sample(frac=1, random_state=0)
    settings = SMALL
    shuffled = MGCLIPClassifier(str(tiny_clip), settings=settings).fit(frame.image, frame.label)
    listed = MGCLIPClassifier(str(tiny_clip), settings=settings).fit(list(frame.image), list(frame.label))
    assert shuffled.predict_proba(x) == pytest.approx(listed.predict_proba(x), abs=1e-6)


class Rows(MGCLIPClassifier):
    """The classifier for scikit-learn's checks, whose samples are rows of numbers: a row is shown as a bar chart. Their labels are
    numbers, which mean nothing to the text branch.
    """

    def __init__(self, clip="iconclip", *, method=None, settings=None, class_texts=None):
        super().__init__(clip, method=method, settings=settings, class_texts=class_texts)

    def _open(self):
        return MGCLIP.from_pretrained(self.clip, settings=Settings(**ANALYTIC, features=128, branches="image"))

    def _images(self, X):
        from sklearn.utils.validation import validate_data

        rows = validate_data(self, X, reset=not hasattr(self, "model_"))
        heights = np.rint(32 / (1 + np.exp(-1.5 * rows.astype(float))))[:, None, :, None]
        up = np.arange(32, 0, -1)[None, :, None, None]
        width = max(1, 32 // rows.shape[1])
        return list(np.where(up <= heights, 20, 240).astype(np.uint8).repeat(3, 3).repeat(width, 2))


SINGLE_PRECISION = {
    "check_methods_subset_invariance": "it allows 1e-7 between one batch and single images; single precision rounds by more",
}


@parametrize_with_checks([Rows()], expected_failed_checks=lambda estimator: SINGLE_PRECISION)
def test_the_estimator_checks_of_scikit_learn_pass(estimator, check):
    check(estimator)


def test_a_grid_search_sets_single_settings(tiny_clip, icons):
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV

    classifier = MGCLIPClassifier(str(tiny_clip), settings__features=16, settings__branches="image")
    assert classifier.settings == {"features": 16, "branches": "image"}
    assert classifier.get_params()["settings__features"] == 16
    assert "settings__features" not in classifier.get_params(deep=False)
    assert clone(classifier).settings == classifier.settings
    images = list(icons["x_train"][:24:2])
    labels = icons["y_train"][:24:2]
    search = GridSearchCV(classifier, {"settings__features": [8, 32]}, cv=2).fit(images, labels)
    assert set(search.cv_results_["param_settings__features"]) == {8, 32}
    chosen = search.best_params_["settings__features"]
    assert search.best_estimator_.model_.settings.features == chosen
    assert search.best_estimator_.model_.settings.branches == "image"
    with pytest.raises(TypeError, match="unexpected keyword argument 'features'"):
        MGCLIPClassifier(str(tiny_clip), features=16)


def test_messages_name_labels_as_python_does(tiny_clip, icons):
    classifier = MGCLIPClassifier(str(tiny_clip), method="simplecil")
    classifier.fit(list(icons["x_train"][:2]), np.array(["dress", "dress"]))
    with pytest.raises(InputError, match=r"^The class 'dress' was learned before"):
        classifier.partial_fit(list(icons["x_train"][:2]), np.array(["dress", "dress"]))
    with pytest.raises(InputError, match="'dress' was learned before, now found 3"):
        classifier.partial_fit(list(icons["x_train"][:2]), np.array([3, 3]))
