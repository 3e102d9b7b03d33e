"""Paired tests, against their definitions computed plainly."""

from math import comb

import numpy as np
import pandas as pd
import pytest

from mgclip.experiment.paired import bootstrap, compare, mcnemar, permutation


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


def test_the_difference_is_that_of_the_mean_accuracies_if_seeds_test_different_images():
    first = [pd.Series([True] * 4, index=list("abcd")), pd.Series([True, True, False, False], index=list("cdef"))]
    second = [pd.Series([True, True, False, False], index=list("abcd")), pd.Series([True, True, False, True], index=list("cdef"))]
    pair = compare("x", first, "y", second)
    means = [np.mean([each.mean() for each in answers]) for answers in (first, second)]
    assert (pair.images, pair.difference) == (6, pytest.approx(means[0] - means[1]))
    assert pair.low <= pair.difference <= pair.high
