"""Labels, class names and class texts are read if they have one meaning, and refused in one sentence if not."""

import unicodedata

import numpy as np
import pandas as pd
import pytest
import torch

from mgclip.errors import InputError
from mgclip.method.labels import name_list, positions, text_list

CLASSES = ("n1", "n2", "n3")
E_ACUTE = "caf\u00e9"


def read(labels, names):
    return positions(labels, name_list(names)).tolist()


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, torch.tensor, iter, tuple], ids=lambda kind: kind.__name__)
def test_whole_numbers_that_are_all_names_mean_the_names(kind):
    assert read(kind([5, 3, 4, 3]), [3, 4, 5]) == [2, 0, 1, 0]
    assert read(kind([5, 3, 4, 3]), ["5", "4", "3"]) == [0, 2, 1, 2]
    assert read(kind([0, 2, 1]), [0, 1, 2]) == [0, 2, 1]  # both readings agree
    assert read(kind([0, 2, 1]), ["b", "a", "c"]) == [0, 2, 1]
    assert read(kind([0, 2, 1]), [10, 20, 30]) == [0, 2, 1]


@pytest.mark.parametrize("names", [[1, 0], ["1", "0"], np.array([1, 0]), [np.int64(1), np.int64(0)], torch.tensor([1, 0])])
def test_whole_numbers_that_are_names_and_other_positions_are_refused(names):
    for labels in ([0, 0, 1], np.array([0, 0, 1]), torch.tensor([0, 0, 1])):
        with pytest.raises(InputError, match=r"0 is a name \(at position 1 in class_names\) and also the position of '1'"):
            read(labels, names)
    assert read(["0", "0", "1"], names) == [1, 1, 0]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pd.Series(["b", "a"], index=[7, 9]), [1, 0]),
        (pd.Series(["b", "a"]).astype("category"), [1, 0]),
        (pd.DataFrame({"label": ["b", "a"]}), [1, 0]),
        (pd.Series([1, 0], dtype="Int64"), [1, 0]),
        ([torch.tensor(1), torch.tensor(0)], [1, 0]),
        (np.array([[1], [0]], dtype=np.uint8), [1, 0]),
        (torch.tensor([1.0, 0.0], requires_grad=True).long(), [1, 0]),
    ],
)
def test_labels_in_other_containers(labels, expected):
    assert read(labels, ["a", "b"]) == expected


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["a", float("nan")], r"labels\[1\] is missing \(nan\): give every image a label\."),
        (["a", None], r"labels\[1\] is missing \(None\)"),
        (pd.Series(["a", "b", None]), r"labels\[2\] is missing"),
        (pd.Series([0, None], dtype="Int64"), r"labels\[1\] is missing"),
        (np.array([0, np.nan]), r"labels\[1\] is missing \(nan\)"),
        ("ab", "labels must be a list; found str"),
        ({"a", "b"}, "labels must be a list; found set"),
        ({"x.jpg": "a"}, "labels must be a list; found dict"),
        (3, "labels must be a list; found int"),
        (np.eye(2, dtype=int), r"labels must be a flat list, one per image; found an array of shape \(2, 2\)"),
        ([True, False], "labels must be whole numbers or class names; found bool"),
        ([b"a"], "labels must be whole numbers or class names; found bytes"),
        ([["a"], ["b"]], "labels must be whole numbers or class names; found list"),
        ([0.0, 1.0], "labels must be whole numbers or class names; found float"),
        (np.array([0.5]), r"labels must be whole numbers or class names; found float 0\.5"),
        ([0, 5], r"The label 5 is not a position in class_names, which holds 2 \(0 to 1\)"),
    ],
)
def test_labels_without_a_meaning_are_refused(labels, sentence):
    with pytest.raises(InputError, match=sentence):
        read(labels, ["a", "b"])


def test_two_forms_of_one_name_are_one_name():
    other = unicodedata.normalize("NFD", E_ACUTE)
    assert read([other, "tea"], ["tea", E_ACUTE]) == [1, 0]
    assert text_list({other: "a café"}, (E_ACUTE,)) == ("a café",)


@pytest.mark.parametrize(
    "names",
    [
        "abc",
        {"a", "b"},
        {0: "a"},
        ["a", None],
        ["a", float("nan")],
        ["a", " "],
        [b"a"],
        [["a"]],
        None,
        5,
        pd.DataFrame({"a": ["x"]}),
    ],
)
def test_class_names_that_are_not_a_list_of_names_are_refused(names):
    with pytest.raises(InputError, match=r"class_names must be a list|A class needs a name; found"):
        name_list(names)


@pytest.mark.parametrize(
    "texts",
    [
        ["circle", "square", "triangle"],
        {"n3": "triangle", "n1": "circle", "n2": "square"},
        iter(["circle", "square", "triangle"]),
        pd.Series(["circle", "square", "triangle"], index=[4, 2, 7]),
        pd.Series(["circle", "square", "triangle"], index=["n1", "n2", "n3"]),
        np.array(["circle", "square", "triangle"]),
    ],
)
def test_texts_go_to_their_classes(texts):
    assert text_list(texts, CLASSES) == ("circle", "square", "triangle")


def test_a_mapping_may_leave_classes_out_and_its_keys_may_be_numbers():
    assert text_list({"n2": "square"}, CLASSES) == ("n1", "square", "n3")
    assert text_list({1: "one"}, ("0", "1")) == ("0", "one")
    assert text_list({"1": "one"}, name_list([0, 1])) == ("0", "one")


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ({"circle": "n1", "square": "n2"}, "class_texts has the key 'circle', which is not a class name"),
        ({"N3": "triangle"}, "class_texts has the key 'N3', which is not a class name"),
        ({"n1": None}, "The text of the class 'n1' must be words for a prompt; found None"),
        ({"n1": float("nan")}, "The text of the class 'n1' must be words"),
        (["circle", "", "triangle"], "The text of the class 'n2' must be words for a prompt; found ''"),
        (["circle", None, "triangle"], "The text of the class 'n2' must be words"),
        ("abc", "class_texts must be a list; found str"),
        ({"circle", "square", "triangle"}, "class_texts must be a list; found set"),
        (["circle"], "Each class needs a text: found 3 class_names and 1 class_texts"),
        (7, "class_texts must be a list; found int"),
        (
            pd.Series({"n3": "triangle", "n1": "circle", "n2": "square"}),
            "a column whose index holds the class names in another",
        ),
    ],
)
def test_texts_that_fit_no_class_are_refused(texts, sentence):
    with pytest.raises(InputError, match=sentence):
        text_list(texts, CLASSES)


def test_two_keys_of_one_class_are_refused():
    with pytest.raises(InputError, match="class_texts has two keys for the class '1'"):
        text_list({1: "one", "1": "uno"}, ("0", "1"))


def test_a_stream_of_classes_called_by_numbers_is_learned_by_name(tiny_clip, icons):
    from mgclip import MGCLIP, Settings
    from mgclip.stream.data import Split

    split = Split(list(icons["x_train"][:24]), icons["y_train"][:24])
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=0, branches="image"))
    with pytest.raises(InputError, match="Whole-number labels are ambiguous"):
        model.learn(split.images, split.labels, ["1", "0"])
    assert model.class_names == ()
    model.learn(split.images, split.named(["1", "0"]), ["1", "0"], class_texts={"0": "zero", "1": "one"})
    assert model.class_texts == ("one", "zero")
    words = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=0, branches="image"))
    words.learn(split.images, split.labels, ["one", "zero"])
    assert np.array_equal(words.predict(split.images).head_scores, model.predict(split.images).head_scores)
