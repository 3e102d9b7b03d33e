"""One self-contained HTML page: of runs, or of an evaluation. No script, no font, nothing fetched; the page itself forbids it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mgclip._version import __version__
from mgclip.disk import FULL, write_output, write_text
from mgclip.errors import InputError
from mgclip.report.page_classes import PAIRS, Bar, class_bars
from mgclip.report.page_figures import Label, reliability_figure
from mgclip.report.page_sections import report_content, report_title
from mgclip.report.page_tables import Cell, Row, Table, percent
from mgclip.report.run_data import read_runs


def write_report(runs: Sequence[Path], file: Path | None = None, *, title: str | None = None) -> Path:
    """Write the page of some runs' folders, finished or not, and return its file: ``report.html`` of the first folder, if none is
    given.

    Raises ``InputError`` for a folder that is no run, a run without a record, a damaged file, or a place that cannot be written.
    """
    found = read_runs(runs)
    write = write_text if file is None else write_output  # a link is followed only where somebody named it
    file = runs[0] / "report.html" if file is None else file
    return _write(file, "report.html.j2", title or report_title(found), report_content(found), write)


def write_evaluation(evaluation: Mapping[str, Any], file: Path, *, title: str | None = None) -> Path:
    """Write the page of an evaluation and return its file. Raises ``InputError`` where it cannot be written.

    ``evaluation`` holds ``model``, ``folder``, ``images``, ``accuracy`` and, or None, ``text_accuracy`` and ``image_accuracy``;
    ``classes``, each with ``name``, ``images``, ``right``, ``predicted`` (how often it was the answer), ``recall`` and
    ``precision`` (None where there is none); ``confused``, each with ``truth``, ``predicted``, ``count``; ``calibration`` with
    ``bins`` (``low``, ``high``, ``count``, ``confidence``, ``accuracy``) and ``error``. All shares are of 1.
    """
    calibration, classes = evaluation["calibration"], evaluation["classes"]
    shares = {
        "both": evaluation["accuracy"],
        "text": evaluation["text_accuracy"],
        "image": evaluation["image_accuracy"],
    }
    rows = [Row(name, [Cell(percent(share, 2))]) for name, share in shares.items() if share is not None]
    full = [part for part in calibration["bins"] if part["count"]]
    said = [
        f"{percent(p['confidence'])} % confident, {percent(p['accuracy'])} % right, {p['count']} images" for p in full
    ]
    label = Label("reliability", "Accuracy against confidence", "; ".join(said) + ".")
    content = {
        "it": evaluation,
        "accuracy": percent(evaluation["accuracy"], 2),
        "branches": Table("Accuracy of the branches, %", "branch", ["accuracy"], rows) if len(rows) > 1 else None,
        "classes": class_bars([Bar(each["name"], each["images"], each["right"]) for each in classes], "classes"),
        "numbers": _class_numbers(classes),
        "confused": sorted(evaluation["confused"], key=lambda pair: -int(pair["count"]))[:PAIRS],
        "error": percent(calibration["error"]),
        "reliability": reliability_figure(full, label) if full else None,
        "bins": _bin_numbers(full),
    }
    return _write(file, "evaluation.html.j2", title or f"{evaluation['model']} on {evaluation['folder']}", content)


def _class_numbers(classes: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for each in classes:
        counts = [str(each[key]) for key in ("images", "right", "predicted")]
        rows.append(
            Row(each["name"], [Cell(text) for text in (*counts, percent(each["recall"]), percent(each["precision"]))])
        )
    return Table("All classes", "class", ["images", "right", "predicted", "recall, %", "precision, %"], rows)


def _bin_numbers(full: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for part in full:
        numbers = (str(part["count"]), percent(part["confidence"]), percent(part["accuracy"]))
        rows.append(Row(f"{percent(part['low'], 0)} to {percent(part['high'], 0)} %", [Cell(text) for text in numbers]))
    return Table("Answers by confidence", "confidence", ["images", "mean confidence, %", "accuracy, %"], rows)


@cache
def _templates() -> Environment:
    loader = PackageLoader("mgclip.report", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _heat_rules() -> Markup:
    """Style rules ``.h0`` to ``.h100``: cividis, and the ink that can be read on it."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    rules = []
    for level in range(101):
        red, green, blue, _ = colormaps["cividis"](level / 100)
        ink = "#000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "#fff"
        rules.append(f"td.h{level} {{ background: {to_hex((red, green, blue))}; color: {ink}; }}")
    return Markup("\n".join(rules))


def _write(
    file: Path,
    template: str,
    title: str,
    content: Mapping[str, Any],
    write: Callable[[Path, str], None] = write_output,
) -> Path:
    page = _templates().get_template(template)
    text = page.render(title=title, version=__version__, heat_rules=_heat_rules(), **content)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, text.encode("utf-8", "replace").decode())  # a name may hold half a character
    except OSError as error:
        if error.errno in FULL:
            raise
        raise InputError(f"{file} cannot be written ({error.strerror}): give another file with --out.") from None
    return file
