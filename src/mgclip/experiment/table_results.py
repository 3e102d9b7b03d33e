"""The results of a finished table: its rows, those of single runs, and paired tests between its methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mgclip.experiment.domain_metrics import shown_metrics
from mgclip.experiment.paired import Pair, compare_all
from mgclip.experiment.reproduce import TableRun
from mgclip.experiment.same_experiment import as_shipped
from mgclip.experiment.schemas import Summary

SEEDS, CLASS_ORDERS, BOTH = "seeds", "class orders", "combinations of class order and seed"
"""What the runs of a row of a table differ in."""


@dataclass(frozen=True)
class TableResult:
    """The result of a method in a recipe with a change, over seeds and class orders: a row of a finished table.

    Values are shares of 1, ``(mean, spread)``, over the runs that have the metric. The spread is the standard deviation, None for
    a single run. ``seeds`` is the number of runs, and ``over`` what they differ in: *seeds*, *class orders*, or *combinations of
    class order and seed*.
    """

    recipe: str
    change: str
    method: str
    seeds: int
    values: Mapping[str, tuple[float, float | None]]
    epochs: tuple[int, ...]
    seconds: float
    accuracy_after: tuple[tuple[float, ...], ...]
    as_published: bool = True
    """Whether every run had the recipe as shipped, apart from seed, paths and settings without an effect on results. If not,
    published values do not apply."""
    over: str = SEEDS


def collect(runs: Sequence[TableRun], summaries: Sequence[Mapping[str, Summary]]) -> list[TableResult]:
    """Aggregate the summaries of runs: one result per recipe, change and method, in order of first appearance."""
    groups: dict[tuple[str, str, str], list[Summary]] = {}
    over = repeated_over(runs)
    changed = {run.recipe.name for run in runs if not run.change and not as_shipped(run.recipe)}
    for run, summary in zip(runs, summaries, strict=True):
        for method, found in summary.items():
            groups.setdefault((run.recipe.name, run.change, method), []).append(found)
    return [
        TableResult(
            *key,
            seeds=len(found),
            values=_means([_values(one) for one in found]),
            epochs=tuple(one["epochs"] for one in found),
            seconds=float(np.median([one["seconds"] for one in found])),
            accuracy_after=tuple(tuple(one["accuracy_after"]) for one in found),
            as_published=not key[1] and key[0] not in changed,
            over=over,
        )
        for key, found in groups.items()
    ]


def repeated_over(runs: Sequence[TableRun]) -> str:
    """What the runs of each row of a table differ in: seeds, class orders, or both."""
    first = [run.recipe for run in runs if (run.recipe.name, run.change) == (runs[0].recipe.name, runs[0].change)]
    if all(recipe.class_order == first[0].class_order for recipe in first):
        return SEEDS
    return CLASS_ORDERS if all(recipe.seed == first[0].seed for recipe in first) else BOTH


def per_seed(runs: Sequence[TableRun], summaries: Sequence[Mapping[str, Summary]]) -> list[dict[str, object]]:
    """One row for each run and method: accuracies in percent, epochs and seconds."""
    ordered = repeated_over(runs) != SEEDS
    return [
        {
            "recipe": run.recipe.name,
            "change": run.change,
            "method": method,
            "seed": run.recipe.seed,
            **({"class order": run.recipe.class_order} if ordered else {}),
            **{name: None if value is None else 100 * value for name, value in _values(summary).items()},
            "E": summary["epochs"],
            "seconds": summary["seconds"],
        }
        for run, found in zip(runs, summaries, strict=True)
        for method, summary in found.items()
    ]


def compared(runs: Sequence[TableRun]) -> dict[tuple[str, str], list[Pair]]:
    """Paired tests between the methods of each recipe and change, over all runs."""
    groups: dict[tuple[str, str], list[TableRun]] = {}
    for run in runs:
        groups.setdefault((run.recipe.name, run.change), []).append(run)
    return {key: compare_all([run.folder for run in found], found[0].recipe.methods) for key, found in groups.items()}


def _values(summary: Summary) -> dict[str, float | None]:
    """The metrics of one run by heading."""
    values: dict[str, float | None] = {metric.heading: metric.of(summary) for metric in shown_metrics([summary])}
    for data, found in summary.get("retention", {}).items():
        values |= {data: found["accuracy"], f"{data} drop": found["drop"]}
    return values


def _means(runs: Sequence[Mapping[str, float | None]]) -> dict[str, tuple[float, float | None]]:
    """Mean and spread of each metric over the runs that have it: with some seeds, no class may have few images."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: value for name in names if (value := _spread([run.get(name) for run in runs]))}


def _spread(values: Sequence[float | None]) -> tuple[float, float | None] | None:
    found = [value for value in values if value is not None]
    if not found:
        return None
    return float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else None
