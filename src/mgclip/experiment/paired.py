"""Paired tests between methods, from what each of them answered for the same images.

McNemar's exact test compares two methods in one run. Over several seeds the difference is the mean of those of the seeds; the
interval comes from a bootstrap over images and the p-value from a permutation test over them, each with its answers in all seeds.

These tests take images as independent. Images of one drawing, patient, video or scene are not: if raw results name the groups of
images that are alike, bootstrap and permutation are over whole groups, and p is the permutation test's for one run too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mgclip.experiment import raw_results, run_folder

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 10_000
"""Samples of the bootstrap, and permutations. With them no p-value is below 1 / 10,001."""

BLOCK = 1_000
"""Samples that are computed at a time: groups of images have many different values."""

Right: TypeAlias = "pd.Series[bool]"
"""Whether each image was recognised after the last task, by the name of the image."""

Finished: TypeAlias = tuple[Path, int]
"""The folder of a method and the number of its finished tasks."""


@dataclass(frozen=True)
class Pair:
    """Two methods compared: the accuracy of ``first`` minus that of ``second``, as a share of 1.

    Attributes:
        first: The name of a method.
        second: The name of another one.
        images: Images that both were tested on.
        groups: Groups of these images that are alike; an image that is in no group is one by itself.
        seeds: Number of seeds.
        difference: The mean difference over the seeds.
        low: The lower end of its 95 % interval, from a bootstrap over groups.
        high: The upper end.
        p: The two-sided p-value: McNemar's exact test for one seed, the permutation test for several, or if images are grouped.
        mcnemar: The p-value of McNemar's exact test in each seed, which takes all images as independent.
    """

    first: str
    second: str
    images: int
    groups: int
    seeds: int
    difference: float
    low: float
    high: float
    p: float
    mcnemar: tuple[float, ...]


def compare_all(runs: Sequence[Path], methods: Sequence[str]) -> list[Pair]:
    """Compare every two methods of runs that differ only in their seed, as ``compare_results`` does.

    Args:
        runs: The folders of the runs.
        methods: The names of the methods.
    """
    return compare_results({name: [(run / name, len(run_folder.read_records(run / name))) for run in runs] for name in methods})


def compare_results(results: Mapping[str, Sequence[Finished | None]]) -> list[Pair]:
    """Compare every two methods by their raw results in each seed. A method that lacks those of a seed is left out.

    Args:
        results: For each method its result with each seed, in the same order of seeds; None where it has not finished.
    """
    answers: dict[str, list[Right]] = {}
    groups: dict[str, str] = {}
    for method, found in results.items():
        read = [None if each is None else raw_results.read_task(each[0], "predictions", each[1] - 1) for each in found]
        known = [table.set_index("image") for table in read if table is not None]
        if len(known) == len(found):
            answers[method] = [table["right"].astype(bool) for table in known]
            for table in known:
                if "group" in table:
                    groups |= {str(image): group for image, group in table["group"].dropna().items()}
    pairs = (compare(first, answers[first], second, answers[second], groups) for first, second in combinations(answers, 2))
    return [pair for pair in pairs if pair is not None]


def compare(
    first: str, of_first: Sequence[Right], second: str, of_second: Sequence[Right], groups: Mapping[str, str] | None = None
) -> Pair | None:
    """Compare two methods by their answers in each seed.

    Args:
        first: The name of a method.
        of_first: Its answers in each seed.
        second: The name of another method.
        of_second: Its answers, in the same order of seeds.
        groups: The group of each image that is in one.

    Returns:
        The comparison; None if they share no image.
    """
    import pandas as pd

    both = [pd.concat([a, b], axis=1, join="inner", keys=["first", "second"]) for a, b in zip(of_first, of_second, strict=True)]
    per_seed = pd.concat([each["first"].astype(int) - each["second"].astype(int) for each in both], axis=1)
    if per_seed.empty:
        return None
    tested = per_seed.count()  # seeds may have different classes; each seed has the same weight, as in the mean accuracies
    differences = (per_seed * (len(per_seed) / tested)).sum(axis=1).to_numpy() / (tested > 0).sum()
    members = _members(per_seed.index, groups or {})
    sums, sizes = np.bincount(members, differences).astype(float), np.bincount(members)
    low, high = bootstrap(sums, sizes)
    exact = tuple(mcnemar(each["first"].to_numpy(bool), each["second"].to_numpy(bool)) for each in both)
    decisive = exact[0] if len(exact) == 1 and len(sums) == len(differences) else permutation(sums)
    counts = len(differences), len(sums), len(exact)
    return Pair(first, second, *counts, float(differences.mean()), low, high, decisive, exact)


def _members(images: Iterable[str], groups: Mapping[str, str]) -> list[int]:
    """The number of the group of each image; an image that is in none has a number of its own."""
    numbers: dict[str | tuple[str], int] = {}
    return [numbers.setdefault(groups.get(image, (image,)), len(numbers)) for image in images]


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The two-sided p-value of McNemar's exact test: images that only one method recognises, against a fair coin."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return 1.0 if only_first + only_second == 0 else float(binomtest(only_first, only_first + only_second).pvalue)


def bootstrap(sums: NDArray[np.float64], sizes: NDArray[np.int64] | None = None) -> tuple[float, float]:
    """The 95 % interval of a mean over images, from the sum over each group ``(n,)`` and its number of images, by default 1.

    There are few different groups, so a sample is drawn as the number of times that each of them occurs.
    """
    images = np.ones(len(sums)) if sizes is None else sizes
    values, counts = np.unique(np.stack([sums.round(12), images]), axis=1, return_counts=True)
    rng, means = np.random.default_rng(0), []
    for _ in range(0, RESAMPLES, BLOCK):
        drawn = rng.multinomial(len(sums), counts / len(sums), size=BLOCK)
        means.append(drawn @ values[0] / (drawn @ values[1]))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


def permutation(sums: NDArray[np.float64]) -> float:
    """The two-sided p-value of a mean of zero, from the sum over each group ``(n,)``: of equal methods, each could have the other
    sign. For one seed and images that are in no groups, this is McNemar's test.

    A p-value of the bootstrap would be too small if few images differ: four that all differ in favour of one method are 0.125 in
    McNemar's test, and about 0.04 there.
    """
    sizes, counts = np.unique(np.abs(sums).round(12), return_counts=True)
    rng, beyond = np.random.default_rng(0), 1
    for _ in range(0, RESAMPLES, BLOCK):
        positive = rng.binomial(counts, 0.5, size=(BLOCK, len(counts)))
        drawn = np.abs((2 * positive - counts) @ sizes)
        beyond += (drawn >= abs(sums.sum()) - 1e-9).sum()  # 1e-9: sums of the same differences may round differently
    return float(beyond / (RESAMPLES + 1))
