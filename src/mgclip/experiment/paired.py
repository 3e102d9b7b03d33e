"""Paired tests between methods, from what each of them answered for the same images.

McNemar's exact test compares two methods in one run. Over several seeds the difference is the mean of those of the seeds; the
interval comes from a bootstrap over images and the p-value from a permutation test over them, each with its answers in all seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

Right: TypeAlias = "pd.Series[bool]"
"""Whether each image was recognised after the last task, by the name of the image."""


@dataclass(frozen=True)
class Pair:
    """Two methods compared: the accuracy of ``first`` minus that of ``second``, as a share of 1.

    Attributes:
        first: The name of a method.
        second: The name of another one.
        images: Images that both were tested on.
        seeds: Number of seeds.
        difference: The mean difference over the seeds.
        low: The lower end of its 95 % interval, from a bootstrap over images.
        high: The upper end.
        p: The two-sided p-value: McNemar's exact test for one seed, the permutation test for several.
        mcnemar: The p-value of McNemar's exact test in each seed.
    """

    first: str
    second: str
    images: int
    seeds: int
    difference: float
    low: float
    high: float
    p: float
    mcnemar: tuple[float, ...]


def right_answers(folder: Path, tasks: int) -> Right | None:
    """Whether each test image was recognised after the last of ``tasks`` tasks of a method; None if it was not recorded.

    Args:
        folder: The folder of the method.
        tasks: The number of its finished tasks.
    """
    last = raw_results.read_task(folder, "predictions", tasks - 1)
    if last is None:
        return None
    import pandas as pd

    return pd.Series(last["right"].to_numpy(bool), index=last["image"].to_numpy())


def compare_all(runs: Sequence[Path], methods: Sequence[str]) -> list[Pair]:
    """Compare every two methods of runs that differ only in their seed, as ``compare_answers`` does.

    Args:
        runs: The folders of the runs.
        methods: The names of the methods.
    """
    answers: dict[str, list[Right | None]] = {}
    for method in methods:
        answers[method] = [right_answers(run / method, len(run_folder.read_records(run / method))) for run in runs]
    return compare_answers(answers)


def compare_answers(answers: Mapping[str, Sequence[Right | None]]) -> list[Pair]:
    """Compare every two methods by their answers in each seed. A method that lacks those of a seed is left out.

    Args:
        answers: For each method what ``right_answers`` returns for each seed, in the same order of seeds.
    """
    known = {method: [right for right in found if right is not None] for method, found in answers.items()}
    complete = [method for method, found in answers.items() if len(known[method]) == len(found)]
    pairs = (compare(first, known[first], second, known[second]) for first, second in combinations(complete, 2))
    return [pair for pair in pairs if pair is not None]


def compare(first: str, of_first: Sequence[Right], second: str, of_second: Sequence[Right]) -> Pair | None:
    """Compare two methods by their answers in each seed.

    Args:
        first: The name of a method.
        of_first: Its answers in each seed.
        second: The name of another method.
        of_second: Its answers, in the same order of seeds.

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
    low, high = bootstrap(differences)
    exact = tuple(mcnemar(each["first"].to_numpy(bool), each["second"].to_numpy(bool)) for each in both)
    decisive = exact[0] if len(exact) == 1 else permutation(differences)
    return Pair(first, second, len(differences), len(exact), float(differences.mean()), low, high, decisive, exact)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The two-sided p-value of McNemar's exact test: images that only one method recognises, against a fair coin."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return 1.0 if only_first + only_second == 0 else float(binomtest(only_first, only_first + only_second).pvalue)


def bootstrap(differences: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of a mean over images ``(n,)``.

    There are few different values, so a sample is drawn as the number of times that each of them occurs.
    """
    values, counts = np.unique(differences, return_counts=True)
    number = len(differences)
    drawn = np.random.default_rng(0).multinomial(number, counts / number, size=RESAMPLES)
    means = drawn @ values / number
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def permutation(differences: NDArray[np.float64]) -> float:
    """The two-sided p-value of a mean of zero over images ``(n,)``: of equal methods, each difference could have the other
    sign. For one seed this is McNemar's test.

    A p-value of the bootstrap would be too small if few images differ: four that all differ in favour of one method are 0.125 in
    McNemar's test, and about 0.04 there.
    """
    sizes, counts = np.unique(np.abs(differences).round(12), return_counts=True)
    positive = np.random.default_rng(0).binomial(counts, 0.5, size=(RESAMPLES, len(counts)))
    sums = np.abs((2 * positive - counts) @ sizes)
    beyond = 1 + (sums >= abs(differences.sum()) - 1e-9).sum()  # 1e-9: sums of the same differences may round differently
    return float(beyond / (RESAMPLES + 1))
