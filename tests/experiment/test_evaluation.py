"""Figures of single classes, against counts by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgclip.experiment.evaluation import calibration, confused, per_class


def test_figures_and_confusions_agree_with_counts_by_hand():
    truth, found = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 1])
    rows = per_class(["a", "b", "c"], truth, found)
    assert [(row["images"], row["right"], row["predicted"]) for row in rows] == [(3, 1, 2), (2, 1, 4), (1, 0, 0)]
    assert [row["recall"] for row in rows] == [pytest.approx(1 / 3), 0.5, 0.0]
    assert [row["precision"] for row in rows] == [0.5, 0.25, None]
    assert confused(["a", "b", "c"], truth, found) == [
        {"truth": "a", "predicted": "b", "count": 2},
        {"truth": "b", "predicted": "a", "count": 1},
        {"truth": "c", "predicted": "b", "count": 1},
    ]


def test_equally_frequent_confusions_are_in_the_order_of_the_classes():
    truth, found = np.array([2, 1, 1, 0, 0]), np.array([0, 2, 0, 2, 2])
    pairs = [(each["truth"], each["predicted"], each["count"]) for each in confused(["a", "b", "c"], truth, found, most=3)]
    assert pairs == [("a", "c", 2), ("b", "a", 1), ("b", "c", 1)]


def test_undefined_figures_are_none():
    truth, predicted = np.array([2, 2]), np.array([2, 0])
    assert [(row["images"], row["recall"], row["precision"]) for row in per_class("abc", truth, predicted)] == [
        (0, None, 0.0),
        (0, None, None),
        (2, 0.5, 1.0),
    ]
    one = np.zeros(3, dtype=np.int64)
    assert [(row["images"], row["right"], row["precision"]) for row in per_class(["a"], one, one)] == [(3, 3, 1.0)]
    assert confused(["a"], one, one) == []


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_the_confusions_are_the_misclassified_images(pairs):
    truth, predicted = np.array(pairs).T
    rows = per_class("abcde", truth, predicted)
    wrong = sum(row["images"] - row["right"] for row in rows)
    assert wrong == sum(row["predicted"] - row["right"] for row in rows)
    assert wrong == sum(pair["count"] for pair in confused("abcde", truth, predicted, most=25))


def test_calibration_worked_out_by_hand():
    found = calibration(np.array([0.95, 0.85, 1.0, 0.15]), np.array([True, False, True, False]))
    filled = {row["low"]: (row["count"], row["confidence"], row["accuracy"]) for row in found["bins"] if row["count"]}
    assert filled == {
        0.1: (1, pytest.approx(0.15), 0.0),
        0.8: (1, pytest.approx(0.85), 0.0),
        0.9: (2, pytest.approx(0.975), 1.0),
    }
    assert found["error"] == pytest.approx((0.15 + 0.85 + 2 * 0.025) / 4)
