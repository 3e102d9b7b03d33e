"""A finished table of experiments as Markdown, CSV and LaTeX, with published values next to the measured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from mgclip.disk import write_text
from mgclip.experiment.paired import Pair
from mgclip.experiment.published import published_results
from mgclip.experiment.recipe import load_recipe
from mgclip.experiment.reproduce import PublishedResult
from mgclip.experiment.table_results import BOTH, SEEDS, TableResult
from mgclip.markdown import as_markdown
from mgclip.report.latex import TEXT_COLUMNS, latex_pairs, latex_table, pairs_caption
from mgclip.report.page_tables import percent, points

Pairs = Mapping[tuple[str, str], Sequence[Pair]]
"""Paired tests by recipe and change."""

TableContent = tuple[Sequence[TableResult], Sequence[PublishedResult], Sequence[Mapping[str, object]], Pairs]
"""What ``write_tables`` writes: rows, published results, the rows of every seed, and paired tests."""


def mean_and_spread(value: tuple[float, float | None] | None) -> str:
    """Mean and spread in percent: ``83.2 ± 1.3``; a dash for None."""
    if value is None:
        return "-"
    mean, spread = value
    return percent(mean) + (f" ± {percent(spread)}" if spread is not None else "")


def published_values(rows: Sequence[TableResult], published: Sequence[PublishedResult]) -> dict[tuple[str, str], PublishedResult]:
    """Published values by recipe and method: those of the table, and those of shipped recipes and tables."""
    known = [published_results(load_recipe(name)) for name in {row.recipe for row in rows if row.as_published}]
    found = {(entry.recipe, entry.method): entry for results in known for entry in results.values()}
    return {**found, **{(entry.recipe, entry.method): entry for entry in published}}


def frame(rows: Sequence[TableResult], published: Sequence[PublishedResult] = ()) -> pd.DataFrame:
    """The table as text: a line for each row, and one for each published method that was not run."""
    known = published_values(rows, published)
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    changed, stated = any(row.change for row in rows), bool(known)
    lines = []
    for row in rows:
        line = {"recipe": row.recipe, **({"change": row.change or "-"} if changed else {}), "method": row.method}
        line |= {f"{name} %": mean_and_spread(row.values.get(name)) for name in columns}
        if stated:
            line |= _stated(known.pop((row.recipe, row.method), None) if row.as_published else None)
        epochs = sorted(set(row.epochs))
        line |= {"E": "-".join(map(str, epochs[:: max(1, len(epochs) - 1)])), row.over: str(row.seeds)}
        line["seconds"] = f"{row.seconds:.0f}"
        lines.append(line)
    run = {row.recipe for row in rows if row.as_published}
    others = [
        {"recipe": recipe, "method": method, **_stated(entry)} for (recipe, method), entry in known.items() if recipe in run
    ]
    return pd.DataFrame([*lines, *others]).fillna("-")


def _stated(entry: PublishedResult | None) -> dict[str, str]:
    values = (None, None) if entry is None else (entry.avg, entry.last)
    shown = {
        f"published {name}": "-" if value is None else f"{value:.2f}" for name, value in zip(("Avg", "Last"), values, strict=True)
    }
    return {**shown, "source": "-" if entry is None else entry.source}


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table with numbers aligned to the right."""
    lines = [" | ".join(table.columns), " | ".join("---" if name in TEXT_COLUMNS else "---:" for name in table.columns)]
    lines += [" | ".join(map(as_markdown, line)) for line in table.itertuples(index=False)]
    return "".join(f"| {line} |\n" for line in lines)


def numbers(rows: Sequence[TableResult], published: Sequence[PublishedResult] = ()) -> pd.DataFrame:
    """The table as numbers in percent: means, and the spreads in ``sd`` columns."""
    known, lines = published_values(rows, published), []
    for row in rows:
        line: dict[str, object] = {"recipe": row.recipe, "change": row.change, "method": row.method, row.over: row.seeds}
        for name, (mean, spread) in row.values.items():
            line |= {name: 100 * mean, f"{name} sd": None if spread is None else 100 * spread}
        entry = known.get((row.recipe, row.method)) if row.as_published else None
        line |= {"published Avg": entry and entry.avg, "published Last": entry and entry.last, "source": entry and entry.source}
        line |= {"E": " ".join(map(str, row.epochs)), "seconds": row.seconds}
        lines.append(line)
    return pd.DataFrame(lines)


def has_groups(pairs: Pairs) -> bool:
    """Whether several test images are in one group."""
    return any(pair.groups < pair.images for found in pairs.values() for pair in found)


def pairs_frame(pairs: Pairs, over: str = SEEDS) -> pd.DataFrame:
    """The paired tests as text, differences in points."""
    changed, grouped = any(change for _, change in pairs), has_groups(pairs)
    return pd.DataFrame(
        [
            {
                "recipe": recipe,
                **({"change": change or "-"} if changed else {}),
                "methods": f"{pair.first} − {pair.second}",
                "difference": points(pair.difference),
                "95 % interval": f"{points(pair.low)} to {points(pair.high)}",
                "p": f"{pair.p:.2g}",
                "images": str(pair.images),
                **({"groups": str(pair.groups)} if grouped else {}),
                over: str(pair.seeds),
            }
            for (recipe, change), found in pairs.items()
            for pair in found
        ]
    )


def pair_numbers(pairs: Pairs, over: str = SEEDS) -> pd.DataFrame:
    """The paired tests as numbers, differences in points, with McNemar's p-value of each run."""
    one = "run" if over == BOTH else over.removesuffix("s")
    return pd.DataFrame(
        [
            {
                **{"recipe": recipe, "change": change, "first": pair.first, "second": pair.second},
                **{"images": pair.images, "groups": pair.groups, over: pair.seeds, "difference": 100 * pair.difference},
                **{"low": 100 * pair.low, "high": 100 * pair.high, "p": pair.p},
                f"McNemar p of each {one}": " ".join(f"{p:.4g}" for p in pair.mcnemar),
            }
            for (recipe, change), found in pairs.items()
            for pair in found
        ]
    )


def write_tables(
    rows: Sequence[TableResult],
    published: Sequence[PublishedResult],
    seeds: Sequence[Mapping[str, object]],
    pairs: Pairs,
    folder: Path,
    name: str,
) -> list[Path]:
    """Write a finished table.

    Args:
        rows: Its rows.
        published: Published results to show next to them.
        seeds: The rows of every run.
        pairs: Paired tests between its methods.
        folder: The folder of the files.
        name: How their names begin.

    Returns:
        The files: the table as Markdown, CSV and LaTeX, with paired tests if there are any; every run as CSV.
    """
    over = rows[0].over
    table, tests = frame(rows, published), pairs_frame(pairs, over)
    text, latex = markdown(table), latex_table(table, rows, name)
    parts = {
        f"{name}.csv": numbers(rows, published).to_csv(index=False),
        f"{name}-seeds.csv": pd.DataFrame(seeds).to_csv(index=False),
    }
    if len(tests):
        caption = pairs_caption(over, grouped=has_groups(pairs))
        text += f"\n{caption}\n\n{markdown(tests)}"
        latex += "\n" + latex_pairs(tests, name, caption)
        parts[f"{name}-pairs.csv"] = pair_numbers(pairs, over).to_csv(index=False)
    parts = {f"{name}.md": text, **parts, f"{name}.tex": latex}
    for file, content in parts.items():
        write_text(folder / file, content)
    return [folder / file for file in parts]
