"""Class orders: the published ones, and those of a recipe."""

import pytest

from mgclip.errors import InputError
from mgclip.stream.datasets import DATASETS
from mgclip.stream.orders import class_order, published_orders


def test_class_orders_are_permutations():
    assert class_order("dataset", dataset="x", classes=4, seed=0) == [0, 1, 2, 3]
    assert class_order(1993, dataset="x", classes=100, seed=0)[:6] == [68, 56, 78, 8, 23, 84]
    assert class_order("published", dataset="cifar100", classes=100, seed=0)[:4] == [87, 0, 52, 58]
    assert class_order("shuffled", dataset="x", classes=9, seed=1) == class_order("shuffled", dataset="y", classes=9, seed=1)
    assert class_order("shuffled", dataset="x", classes=9, seed=1) != class_order("shuffled", dataset="x", classes=9, seed=2)
    for name, order in published_orders().items():
        assert sorted(order) == list(range({"cifar100": 100, "imagenet100": 100}.get(name, len(order)))), name
    with pytest.raises(InputError, match="No class order was published for icons100: there are orders for cifar100"):
        class_order("published", dataset="icons100", classes=100, seed=0)
    with pytest.raises(InputError, match="class_order must name each class from 0 to 2 once; found 2 entries"):
        class_order([0, 2], dataset="x", classes=3, seed=0)
    with pytest.raises(InputError, match="class_order must be dataset, published, shuffled, a number or a list; found random"):
        class_order("random", dataset="x", classes=3, seed=0)


def test_published_orders_fit_the_data_sets(copies):
    for name in ("imagenet-r", "imagenet100", "cub200"):
        assert name.replace("-", "_") in published_orders()
        order = class_order("published", dataset=name, classes=DATASETS[name].classes, seed=0)
        assert sorted(order) == list(range(DATASETS[name].classes))
