"""The scikit-learn classifier: its own behaviour, and scikit-learn's estimator checks."""

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from mgclip import MGCLIP, MGCLIPClassifier, Settings
from mgclip.errors import InputError

QUICK = {"epochs": 1, "adapter_batch_size": 8, "head_batch_size": 8}


@pytest.fixture
def classifier(tiny_clip):
    return MGCLIPClassifier(str(tiny_clip), settings=QUICK)


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
        mine = again.probabilities[:, again.classes.index(name)]
        assert probability[:, column] == pytest.approx(mine / again.probabilities.sum(1), abs=1e-6)
    assert classifier.score(everything, truth) == np.mean(classifier.predict(everything) == truth)
    with pytest.raises(InputError, match="was learned before"):
        classifier.partial_fit(later, labels)


def test_fit_begins_anew_and_takes_pictures_and_paths(classifier, icons, tmp_path):
    x, y = some(icons, [0, 1])
    classifier.fit(x, y)
    first = classifier.predict_proba(x)
    files = []
    for number, image in enumerate(x):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(files[-1])
    assert clone(classifier).fit(files, y).predict_proba(files) == pytest.approx(first, abs=1e-6)
    assert classifier.fit([Image.fromarray(image) for image in x], y).predict_proba(x) == pytest.approx(first, abs=1e-6)


def test_labels_need_not_be_texts(classifier, icons):
    x, y = some(icons, [0, 1])
    numbers = np.where(y == y[0], 7, 3)
    classifier.set_params(class_texts={7: str(y[0])}, sharp=True).fit(x, numbers)
    assert classifier.classes_.tolist() == [3, 7]
    assert classifier.model_.class_texts == ("3", str(y[0]))
    assert set(classifier.predict(x)) <= {3, 7}
    assert classifier.predict_proba(x).sum(1) == pytest.approx(np.ones(len(x)))


def test_goes_on_with_a_saved_model(classifier, icons, tmp_path):
    x, y = some(icons, [0, 1])
    classifier.fit(x, y).model_.save_pretrained(tmp_path / "shop")
    later, labels = some(icons, [2, 3])
    more = MGCLIPClassifier(tmp_path / "shop").partial_fit(later, labels)
    assert more.classes_.tolist() == sorted({*y, *labels})


def test_what_cannot_be_learned_is_said(classifier, icons):
    x, y = some(icons, [0, 1])
    with pytest.raises(InputError, match="There is no image"):
        classifier.fit(x[:0], y[:0])
    with pytest.raises(InputError, match="no key epoch: did you mean epochs"):
        MGCLIPClassifier("iconclip", settings={"epoch": 1}).fit(x, y)


class Rows(MGCLIPClassifier):
    """The classifier for scikit-learn's checks, whose samples are rows of numbers: a row is shown as a bar chart. Their labels are
    numbers, which say nothing to the text branch.
    """

    def __init__(self, clip="iconclip", *, settings=None, class_texts=None, sharp=False):
        super().__init__(clip, settings=settings, class_texts=class_texts, sharp=sharp)

    def _open(self):
        return MGCLIP.from_pretrained(self.clip, settings=Settings(epochs=0, branches="image"))

    def _images(self, X):
        from sklearn.utils.validation import validate_data

        rows = validate_data(self, X, reset=not hasattr(self, "model_"))
        heights = np.rint(32 / (1 + np.exp(-1.5 * rows.astype(float))))[:, None, :, None]
        up = np.arange(32, 0, -1)[None, :, None, None]
        width = max(1, 32 // rows.shape[1])
        return list(np.where(up <= heights, 20, 240).astype(np.uint8).repeat(3, 3).repeat(width, 2))


NOT_FOR_IMAGES = {
    "check_fit_score_takes_y": "it calls partial_fit twice with the same classes; here a class is learned once, and refused again",
}


@parametrize_with_checks([Rows()], expected_failed_checks=lambda estimator: NOT_FOR_IMAGES)
def test_scikit_learn(estimator, check):
    check(estimator)
