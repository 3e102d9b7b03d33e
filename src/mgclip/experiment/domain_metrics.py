"""Transfer, Average and Last of a stream of several data sets, as MTIL and X-TAIL define them (docs/method.md 9).

``A[i, j]`` is the accuracy on the test images of data set j after learning data set i, also if j is learned later. Data sets are
counted in the order in which they are learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgclip.experiment.metrics import METRICS, Matrix, Metric, uneven
from mgclip.experiment.schemas import Record

DOMAIN_METRICS = (
    Metric(
        *("transfer", "Transfer", "%", max),
        meaning="Mean over data sets but the first of the mean accuracy on each before it is learned.",
    ),
    Metric(
        *("domain_average", "Average", "%", max),
        meaning="Mean over data sets of the mean accuracy on each, before and after it is learned.",
    ),
    Metric(
        *("domain_last", "Last", "%", max),
        meaning="Mean over data sets of the accuracy on each after the last one is learned.",
    ),
)
"""The metrics of a stream of several data sets. Each data set weighs the same, however many images it has."""


def metrics_of(summaries: Iterable[Mapping[str, Any]]) -> tuple[Metric, ...]:
    """The metrics that a table of these summaries shows: those of streams of several data sets, of other streams, or of both."""
    several = [DOMAIN_METRICS[0].key in summary for summary in summaries]
    if not any(several):
        return METRICS
    if all(several):
        return DOMAIN_METRICS
    return *METRICS, *(Metric(m.key, f"{m.heading} of data sets", m.unit, m.best, m.meaning) for m in DOMAIN_METRICS)


def shown_metrics(summaries: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """The accuracies of some runs: those of every table, and those that only long-tailed or blurry streams have."""
    found = list(summaries)
    return [*metrics_of(found), *uneven(found)]


def domain_matrix(records: Sequence[Record]) -> Matrix | None:
    """The matrix A ``(d, d)`` from the last record of each data set; NaN for those not learned yet. None if the stream consists
    of a single data set.
    """
    if not records or "accuracy_per_domain" not in records[-1]:
        return None
    rows = {record["domain"]: list(record["accuracy_per_domain"].values()) for record in records}
    names = list(records[-1]["accuracy_per_domain"])
    return np.array([rows.get(name, [np.nan] * len(names)) for name in names])


def transfer(matrix: Matrix) -> float | None:
    """Mean over data sets but the first of the mean accuracy on each before it is learned; None for a single data set."""
    return _known([float(matrix[:later, later].mean()) for later in range(1, len(matrix))])


def average(matrix: Matrix) -> float | None:
    """Mean over data sets of the mean accuracy on each over all rows."""
    return _known(matrix.mean(0))


def last(matrix: Matrix) -> float | None:
    """Mean over data sets of the accuracy on each after the last one is learned."""
    return _known(matrix[-1])


def _known(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    """The mean of values; None if there are none, or one is not measured yet."""
    return None if len(values) == 0 or np.isnan(values).any() else float(np.mean(values))
