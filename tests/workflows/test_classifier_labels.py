"""The labels of the scikit-learn classifier: their types, and the classes of its model."""

import pickle

import numpy as np
import pytest

from mgclip import MGCLIP, MGCLIPClassifier
from mgclip.errors import InputError


@pytest.fixture
def classifier(tiny_clip):
    return MGCLIPClassifier(str(tiny_clip), settings={"features": 64})


def some(icons, classes):
    picked = np.isin(icons["y_train"], classes)
    return icons["x_train"][picked], np.array([str(icons["class_names"][label]) for label in icons["y_train"][picked]])


@pytest.mark.parametrize(
    ("first", "later", "sentence"),
    [
        ([0, 1], [1.0, 2.0], "0 was learned before, now found 1.0"),
        ([0.0, 1.0], [1, 2], "0.0 was learned before, now found 1"),
        ([0, 1], [False, True], "0 was learned before, now found False"),
        ([False, True], [1, 2], "False was learned before, now found 1"),
        (["a", "b"], [1, 2], "'a' was learned before, now found 1"),
    ],
)
def test_labels_of_another_type_are_refused(classifier, icons, first, later, sentence):
    x, _ = some(icons, [0, 1])
    classifier.partial_fit(x, np.repeat(first, 12))
    with pytest.raises(InputError, match=sentence):
        classifier.partial_fit(x, np.repeat(later, 12))
    assert classifier.classes_.tolist() == first == classifier.labels_.tolist()
    classifier.predict(x)


def test_labels_follow_classes_that_the_model_forgets_renames_or_learns_itself(classifier, icons):
    x, y = some(icons, [0, 1, 2])
    classifier.fit(x, y)
    first, second, third = classifier.labels_.tolist()
    classifier.model_.forget(first)
    assert classifier.classes_.tolist() == [second, third]
    assert classifier.predict_proba(x).shape == (36, 2)
    classifier.model_.relabel(second, "renamed")
    later, labels = some(icons, [3])
    classifier.model_.learn(later, labels, [labels[0]])
    assert classifier.labels_.tolist() == [*classifier.model_.class_names] == ["renamed", third, labels[0]]
    classifier.partial_fit(x[y == first], y[y == first])
    truth = np.where(y == second, "renamed", y)
    assert classifier.score(x, truth) == np.mean(np.array(classifier.model_.predict(x).names) == truth)
    assert classifier.classes_[classifier.predict_proba(x).argmax(1)].tolist() == classifier.predict(x).tolist()


def test_numbers_as_labels_follow_the_model_too_unless_it_has_a_name_that_is_none(classifier, icons):
    x, y = some(icons, [0, 1, 2])
    numbers = np.unique(y, return_inverse=True)[1] + 5
    classifier.fit(x, numbers).model_.forget("5")
    assert classifier.classes_.tolist() == [6, 7]
    assert set(classifier.predict(x)) <= {6, 7}
    classifier.model_.relabel("6", "cat")
    with pytest.raises(InputError, match="5 was learned before, now found 'cat'"):
        classifier.predict(x)


@pytest.mark.parametrize("saved", [False, True])
def test_a_classifier_that_an_earlier_version_has_pickled_keeps_its_labels(classifier, icons, tmp_path, saved):
    x, y = some(icons, [0, 1, 2])
    numbers = np.unique(y, return_inverse=True)[1] + 5
    known = numbers < 7
    classifier.fit(x[known], numbers[known])
    if saved:
        classifier.model_.save_pretrained(tmp_path / "shop")
        classifier.set_params(clip=str(tmp_path / "shop"), settings=None)
    classifier.partial_fit(x[~known], numbers[~known])
    answers = classifier.predict(x).tolist()
    older = pickle.loads(pickle.dumps(classifier))
    vars(older).update(labels_=classifier.labels_, classes_=classifier.classes_)
    del older.given_
    older = pickle.loads(pickle.dumps(older))
    assert (older.predict(x).tolist(), older.classes_.tolist()) == (answers, [5, 6, 7])
    assert older.partial_fit(x[known], numbers[known]).classes_.tolist() == [5, 6, 7]


def test_labels_are_those_of_the_model_that_predicted(classifier, icons, monkeypatch):
    x, y = some(icons, [0, 1, 2])
    classifier.fit(x, y)
    expected, model = classifier.predict(x).tolist(), classifier.model_
    predict = model.predict

    def predict_before_another_thread_forgets(images):
        found = predict(images)
        model.forget(model.class_names[0])
        return found

    monkeypatch.setattr(model, "predict", predict_before_another_thread_forgets)
    assert classifier.predict(x).tolist() == expected
    assert classifier.predict_proba(x).shape == (len(x), 2)


@pytest.mark.parametrize("act", ["fit", "partial_fit"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError])
def test_what_was_learned_stays_if_learning_more_fails_or_is_interrupted(classifier, icons, monkeypatch, act, error):
    x, y = some(icons, [0, 1, 2])
    numbers = np.unique(y, return_inverse=True)[1] + 5
    known = numbers < 7
    expected = classifier.fit(x[known], numbers[known]).predict_proba(x)

    def stop(*given, **options):
        raise error("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(MGCLIP, "learn", stop)
        with pytest.raises(error, match="stopped"):
            getattr(classifier, act)(x, numbers)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        getattr(classifier, act)(x, numbers[:-1])
    assert classifier.classes_.tolist() == [5, 6]
    assert np.array_equal(classifier.predict_proba(x), expected)
    assert getattr(classifier, act)(x[~known], numbers[~known]).classes_.tolist() == ([7] if act == "fit" else [5, 6, 7])


def test_another_thread_that_predicts_while_a_class_is_learned_gets_its_label(classifier, icons, monkeypatch):
    x, y = some(icons, [0, 1, 2])
    numbers = np.unique(y, return_inverse=True)[1] + 5
    known = numbers < 7
    classifier.fit(x[known], numbers[known])
    learn, seen = MGCLIP.learn, []

    def learn_while_another_thread_predicts(*given, **options):
        learned = learn(*given, **options)
        seen.extend(classifier.predict(x).tolist())
        return learned

    monkeypatch.setattr(MGCLIP, "learn", learn_while_another_thread_predicts)
    classifier.partial_fit(x[~known], numbers[~known])
    assert seen == classifier.predict(x).tolist()
    assert {type(label) for label in seen} == {int}


def test_texts_of_numpy_are_labels(classifier, icons):
    x, y = some(icons, [0, 1])
    classifier.fit(x, y.astype(np.dtypes.StringDType()))
    assert classifier.classes_.tolist() == sorted(set(y))
