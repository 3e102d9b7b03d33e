"""Class orders: the published ones, and those of a recipe."""

import json

import pytest

from mgclip.errors import InputError
from mgclip.experiment.recipe import load_recipe
from mgclip.stream.datasets import DATASETS
from mgclip.stream.orders import class_order, published_orders

PETS = ("cat", "dog", "owl", "caf\u00e9")


def names(number):
    return [f"class {n}" for n in range(number)]


def test_class_orders_are_permutations():
    assert class_order("dataset", dataset="x", names=names(4), seed=0) == [0, 1, 2, 3]
    assert class_order(1993, dataset="x", names=names(100), seed=0)[:6] == [68, 56, 78, 8, 23, 84]
    assert class_order("published", dataset="cifar100", names=names(100), seed=0)[:4] == [87, 0, 52, 58]
    assert class_order("shuffled", dataset="x", names=names(9), seed=1) == class_order(
        "shuffled", dataset="y", names=names(9), seed=1
    )
    assert class_order("shuffled", dataset="x", names=names(9), seed=1) != class_order(
        "shuffled", dataset="x", names=names(9), seed=2
    )
    for name, order in published_orders().items():
        assert sorted(order) == list(range({"cifar100": 100, "imagenet100": 100}.get(name, len(order)))), name


def test_a_list_names_classes_by_position_or_by_name():
    for order in ([3, 0, 2, 1], ["cafe\u0301", "cat", "owl", "dog"], ["3", "0", "2", "1"]):
        assert class_order(order, dataset="x", names=PETS, seed=0) == [3, 0, 2, 1]
    assert class_order(["1", "0", "2"], dataset="x", names=("0", "1", "2"), seed=0) == [1, 0, 2]


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        (
            "published",
            "No class order was published for icons100: choose dataset, shuffled or a number .orders were published for cifar100",
        ),
        ([0, 2], "must name each of the 4 classes once, by name or by a number from 0 to 3; found 2 entries"),
        (["cat", "dog", "owl", "dog"], "found dog twice"),
        (["cat", "dog", "owl", "cafes"], "names 'cafes', which is not a class of the data: did you mean caf"),
        ("random", "must be dataset, published, shuffled, a number, a list or a file; found random"),
        (-1, "must be from 0 to"),
    ],
)
def test_an_order_that_is_not_one_of_the_classes_is_refused(order, sentence):
    with pytest.raises(InputError, match=sentence):
        class_order(order, dataset="icons100", names=PETS, seed=0)


def test_numbers_that_are_names_of_other_classes_are_refused():
    with pytest.raises(InputError, match="numbers that are also names of other classes: give it as a list of positions"):
        class_order(["2", "1", "0"], dataset="x", names=("2", "1", "0"), seed=0)


def test_an_order_is_read_from_a_file_and_becomes_part_of_the_recipe(tmp_path):
    lines, listed, yaml = tmp_path / "order.txt", tmp_path / "order.json", tmp_path / "order.yaml"
    lines.write_text("\ufeffgreat owl\r\ncat\r\n\r\nno\r\n", encoding="utf-8")
    listed.write_text(json.dumps(["great owl", "cat", "no"]))
    yaml.write_text("- great owl\n- cat\n- 'no'\n")
    for file in (lines, listed, yaml):
        assert load_recipe("icons100", [f"class_order={file}"]).class_order == ["great owl", "cat", "no"]
    yaml.write_text("- great owl\n- cat\n- no\n")
    with pytest.raises(InputError, match="must list names or numbers; found False: put names in quotation marks"):
        load_recipe("icons100", [f"class_order={yaml}"])
    with pytest.raises(
        InputError, match="class_order must be dataset, published, shuffled, a number, a list or a file; found 'shufled'"
    ):
        load_recipe("icons100", ["class_order=shufled"])


def test_published_orders_fit_the_data_sets(copies):
    for name in ("imagenet-r", "imagenet100", "cub200"):
        assert name.replace("-", "_") in published_orders()
        order = class_order("published", dataset=name, names=names(DATASETS[name].classes), seed=0)
        assert sorted(order) == list(range(DATASETS[name].classes))
