"""Tables of experiments in LaTeX, ready for a paper: with ``booktabs``, numbers to the right, the best in bold, a caption."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from mgclip.experiment.domain_metrics import DOMAIN_METRICS
from mgclip.experiment.metrics import METRICS, UNEVEN
from mgclip.experiment.table_results import TableResult
from mgclip.method.methods import is_joint

TEXT_COLUMNS = {"recipe", "change", "method", "methods", "source"}
"""Columns of text; all others contain numbers."""

SPECIAL = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
}
"""Characters that LaTeX would interpret, or that its fonts may lack -> how they are written."""


def latex_table(table: pd.DataFrame, rows: Sequence[TableResult], name: str) -> str:
    """A table of results in LaTeX. The best mean of each recipe is bold in each column, all of them if they are shown as equal.

    Args:
        table: The results as text.
        rows: The results of its first lines; published results may follow them.
        name: The name of the table, for its label.
    """
    bold = _best(table, rows)
    spread = f"mean and standard deviation over {rows[0].over}" if any(row.seeds > 1 for row in rows) else "one seed"
    epochs = "E: epochs of MG-CLIP's adapter phase on each task; 0 for a method without it, even if it trains in another way."
    caption = f"Accuracy in percent, {spread}. {epochs} Bold: the best of each recipe, all of them if several are equal."
    return _latex(table.drop(columns="seconds"), caption, f"tab:{_label(name)}", bold)


def pairs_caption(over: str, *, grouped: bool) -> str:
    """The caption of the paired tests of runs that differ in seeds, class orders or both.

    Args:
        over: What the runs differ in.
        grouped: Whether images are in groups.
    """
    drawn, test = "test images", "McNemar's exact test for one run, a permutation test over images for several"
    if grouped:
        drawn, test = "groups of test images that are alike", "a permutation test over these groups"
    return (
        f"Difference in accuracy after the last task, in percentage points. Intervals: bootstrap over {drawn}, averaged over "
        f"{over}. p: two-sided, {test}."
    )


def latex_pairs(table: pd.DataFrame, name: str, caption: str) -> str:
    """The paired tests in LaTeX."""
    return _latex(table, caption, f"tab:{_label(name)}-pairs", set())


def _best(table: pd.DataFrame, rows: Sequence[TableResult]) -> set[tuple[int, str]]:
    """Line and column of the best values; none if all are shown as equal. A method that learns all at once is not compared."""
    best = {metric.heading: metric.best for metric in (*METRICS, *DOMAIN_METRICS, *UNEVEN)}
    found = set()
    for heading in dict.fromkeys(name for row in rows for name in row.values):
        choose = best.get(heading) or (min if heading.endswith(" drop") else max)
        for recipe in dict.fromkeys(row.recipe for row in rows):
            means = {
                line: round(100 * row.values[heading][0], 1)
                for line, row in enumerate(rows)
                if row.recipe == recipe and heading in row.values and not is_joint(row.method)
            }
            if len(set(means.values())) > 1:
                found |= {(line, f"{heading} %") for line, mean in means.items() if mean == choose(means.values())}
    return found


def _latex(table: pd.DataFrame, caption: str, label: str, bold: set[tuple[int, str]]) -> str:
    """A floating table. A change of a setting is written as in a recipe, without the quotation marks of JSON."""
    columns = "".join("l" if name in TEXT_COLUMNS else "r" for name in table.columns)
    lines = [
        [_cell(str(cell), bold=(line, name) in bold) for name, cell in zip(table.columns, row, strict=True)]
        for line, row in enumerate(table.itertuples(index=False))
    ]
    body = [" & ".join(cells) + r" \\" for cells in ([escape(str(name)) for name in table.columns], *lines)]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape(caption)}}}",
            rf"  \label{{{label}}}",
            rf"  \begin{{tabular}}{{{columns}}}  % needs \usepackage{{booktabs}}",
            r"    \toprule",
            f"    {body[0]}",
            r"    \midrule",
            *(f"    {line}" for line in body[1:]),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _cell(text: str, *, bold: bool) -> str:
    text = {"-": "--"}.get(text, escape(text))
    return rf"\textbf{{{text}}}" if bold else text


def escape(text: str) -> str:
    """A text as LaTeX prints it. A sign before a number becomes that of mathematics."""
    escaped = "".join(SPECIAL.get(letter, letter) for letter in text)
    return re.sub(r"(?<![\w.])([+-])(?=\d)", r"$\1$", escaped)


def _label(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", name)
