"""Paired tests, against their definitions computed plainly."""

from math import comb

import numpy as np
import pandas as pd
import pytest

from mgclip.experiment.paired import bootstrap, compare, compare_results, mcnemar, permutation


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (9, 2), (5, 5), (40, 70)])
def test_mcnemar_is_the_binomial_test_of_the_images_that_one_method_recognises(only_first, only_second):
    first = np.array([True] * only_first + [False] * only_second + [True] * 30 + [False] * 8)
    second = np.array([False] * only_first + [True] * only_second + [True] * 30 + [False] * 8)
    number = only_first + only_second
    tail = sum(comb(number, k) for k in range(min(only_first, only_second) + 1)) / 2**number
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(second, first) == mcnemar(first, second)


def test_the_bootstrap_agrees_with_resampled_images():
    rng = np.random.default_rng(1)
    differences = rng.choice([-1, -1 / 3, 0, 1 / 3, 1], p=[0.05, 0.1, 0.6, 0.15, 0.1], size=400)
    means = np.array([rng.choice(differences, 400).mean() for _ in range(4000)])
    assert bootstrap(differences) == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.006)
    assert bootstrap(np.zeros(50)) == (0, 0)


def test_the_permutation_test_agrees_with_exchanged_answers():
    rng = np.random.default_rng(1)
    differences = rng.choice([-1, -1 / 3, 0, 1 / 3, 1], p=[0.05, 0.1, 0.6, 0.15, 0.1], size=400)
    sums = np.array([abs((differences * rng.choice([-1, 1], 400)).sum()) for _ in range(4000)])
    assert permutation(differences) == pytest.approx((sums >= abs(differences.sum())).mean(), abs=0.01)
    assert permutation(np.zeros(50)) == 1
    assert permutation(np.ones(50)) == permutation(-np.ones(50)) == 1 / 10_001


@pytest.mark.parametrize(("only_first", "only_second"), [(4, 0), (5, 0), (6, 1), (9, 2), (40, 70)])
def test_several_seeds_with_the_same_answers_have_the_p_value_of_one(only_first, only_second):
    first = pd.Series([True] * only_first + [False] * only_second + [True] * 90)
    second = pd.Series([False] * only_first + [True] * only_second + [True] * 90)
    once, thrice = compare("a", [first], "b", [second]), compare("a", [first] * 3, "b", [second] * 3)
    assert thrice.p == pytest.approx(once.p, abs=0.015)


def test_an_image_counts_once_however_many_seeds_there_are():
    names = [f"{n}.png" for n in range(60)]
    rng = np.random.default_rng(0)
    first, second = (pd.Series(rng.random(60) < share, index=names) for share in (0.9, 0.6))
    once, thrice = compare("a", [first], "b", [second]), compare("a", [first] * 3, "b", [second] * 3)
    assert (once.images, thrice.images) == (60, 60)
    assert (once.low, once.high, once.difference) == (thrice.low, thrice.high, thrice.difference)
    assert once.p == mcnemar(first.to_numpy(), second.to_numpy())
    assert thrice.mcnemar == (once.p,) * 3
    shuffled = compare("a", [first.sample(frac=1, random_state=1)], "b", [second])
    assert shuffled == once
    assert compare("a", [first], "b", [second.rename(lambda name: f"other/{name}")]) is None


def in_groups(sizes, seed=0):
    """Answers of two methods for images in groups of these sizes, and the group of each image. The images of a group are alike."""
    rng, groups = np.random.default_rng(seed), np.repeat(np.arange(len(sizes)), sizes)
    names = [f"{n}.png" for n in range(len(groups))]
    first, second = (
        pd.Series(rng.random(len(sizes))[groups] + rng.random(len(groups)) / 4 < share, names) for share in (0.8, 0.7)
    )
    return first, second, dict(zip(names, map(str, groups), strict=True))


def test_copies_of_an_image_in_its_group_add_no_certainty():
    once, other, alone = in_groups([1] * 40)
    assert compare("a", [once], "b", [other], alone) == compare("a", [once], "b", [other])
    copies = pd.Index([f"{copy} {name}" for copy in range(20) for name in once.index])
    first, second = (pd.Series(np.tile(answers.to_numpy(), 20), copies) for answers in (once, other))
    few = compare("a", [once] * 2, "b", [other] * 2)
    many = compare("a", [first], "b", [second], {name: name.split()[1] for name in copies})
    assert (many.images, many.groups, many.p) == (800, 40, few.p)
    assert (many.difference, many.low, many.high) == pytest.approx((few.difference, few.low, few.high))
    assert compare("a", [first], "b", [second]).p < many.p / 3


def test_the_tests_of_groups_agree_with_whole_groups_that_are_resampled_and_exchanged():
    first, second, groups = in_groups([20, 10, 10, 3, 1, 6] * 12)
    pair = compare("a", [first], "b", [second], groups)
    each = (first.astype(int) - second.astype(int)).groupby(groups).agg(["sum", "count"]).to_numpy()
    rng = np.random.default_rng(1)
    samples = (each[rng.integers(0, len(each), len(each))].sum(0) for _ in range(4000))
    assert (pair.low, pair.high) == pytest.approx(np.quantile([s / n for s, n in samples], (0.025, 0.975)), abs=0.006)
    sums = np.array([abs((each[:, 0] * rng.choice([-1, 1], len(each))).sum()) for _ in range(4000)])
    assert pair.p == pytest.approx((sums >= abs(each[:, 0].sum())).mean(), abs=0.02)


def test_equal_methods_differ_as_often_as_the_level_says_if_images_are_in_groups():
    found = []
    for seed in range(60):
        first, second, groups = in_groups([10] * 50, seed)
        exchanged = np.random.default_rng([1, seed]).random(50)[list(map(int, groups.values()))] < 0.5
        pair = [
            compare("a", [first.where(exchanged, second)], "b", [second.where(exchanged, first)], of) for of in (groups, None)
        ]
        found.append([each.p < 0.05 for each in pair])
    by_group, by_image = np.mean(found, axis=0)
    assert by_group <= 0.1
    assert by_image > 0.3  # images of a group are not independent


def test_an_image_without_a_group_is_one_by_itself(tmp_path):
    """Raw results of earlier versions have no groups; a stream of several data sets may have those of some."""
    columns = {"task": 0, "image": ["x/0", "x/1", "y/0"], "class": "c", "answer": "c", "text_answer": "c"}
    for method, right in (("a", [True, True, False]), ("b", [False, False, False])):
        (tmp_path / method / "predictions").mkdir(parents=True)
        pd.DataFrame({**columns, "right": right}).to_parquet(tmp_path / method / "predictions" / "task-0001.parquet")
    old = compare_results({method: [(tmp_path / method, 1)] for method in "ab"})
    assert [(pair.images, pair.groups, pair.p) for pair in old] == [(3, 3, 0.5)]
    both = pd.DataFrame({**columns, "right": True, "group": ["x/house", "x/house", None]})
    both.to_parquet(tmp_path / "a" / "predictions" / "task-0001.parquet")
    (pair,) = compare_results({method: [(tmp_path / method, 1)] for method in "ab"})
    assert (pair.images, pair.groups, pair.difference) == (3, 2, 1)


def test_the_difference_is_that_of_the_mean_accuracies_if_seeds_test_different_images():
    first = [pd.Series([True] * 4, index=list("abcd")), pd.Series([True, True, False, False], index=list("cdef"))]
    second = [pd.Series([True, True, False, False], index=list("abcd")), pd.Series([True, True, False, True], index=list("cdef"))]
    pair = compare("x", first, "y", second)
    means = [np.mean([each.mean() for each in answers]) for answers in (first, second)]
    assert (pair.images, pair.difference) == (6, pytest.approx(means[0] - means[1]))
    assert pair.low <= pair.difference <= pair.high
