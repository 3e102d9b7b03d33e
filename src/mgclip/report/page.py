"""A self-contained HTML page of runs or of an evaluation. Its content security policy forbids scripts and remote content."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mgclip._version import __version__
from mgclip.disk import FULL, write_output, write_text
from mgclip.errors import InputError
from mgclip.experiment.evaluation import CalibrationBin, ClassFigures, Evaluation, JudgedImage, describe_learned
from mgclip.missing import refuse_address
from mgclip.report.figures import Label
from mgclip.report.page_classes import MAX_PAIRS, Bar, class_bars
from mgclip.report.page_figures import reliability_figure
from mgclip.report.page_mistakes import mistakes_of, taken_for
from mgclip.report.page_sections import report_content, report_title
from mgclip.report.page_tables import Cell, Row, Table, percent
from mgclip.report.run_data import read_runs
from mgclip.words import are, count


def write_report(runs: Sequence[Path], file: Path | None = None, *, title: str | None = None) -> Path:
    """Write the page of some runs.

    Args:
        runs: Folders of runs, finished or not.
        file: The file to write; by default ``report.html`` in the first folder.
        title: The title of the page; by default the names of the recipes.

    Returns:
        The file.

    Raises:
        InputError: If a folder is not a run or has no record yet, a file is damaged, or ``file`` cannot be written.
    """
    found = read_runs(runs)
    write = write_text if file is None else write_output  # a symbolic link is followed only if it was named
    file = runs[0] / "report.html" if file is None else file
    return _write(file, "report.html.j2", title or report_title(found), report_content(found), write)


def write_evaluation(
    evaluation: Evaluation,
    file: Path,
    *,
    images: Sequence[JudgedImage] = (),
    correctable: bool = True,
) -> Path:
    """Write the page of an evaluation. Its title is the model and the folder.

    Args:
        evaluation: The evaluation.
        file: The file to write.
        images: The answer to each image. With them, the page shows the confusion matrix and the worst mistakes.
        correctable: Whether the model can be corrected by single images: its head is a solved one.

    Returns:
        The file.

    Raises:
        InputError: If ``file`` cannot be written.
    """
    calibration, classes = evaluation["calibration"], evaluation["classes"]
    shares = {
        "model": evaluation["accuracy"],
        "text branch": evaluation["text_accuracy"],
        "image branch": evaluation["image_accuracy"],
    }
    rows = [Row(name, [Cell(percent(share, 2))]) for name, share in shares.items() if share is not None]
    branches = Table("Accuracy of the model, and of each branch alone, %", "answers of", ["accuracy"], rows)
    bins = [each for each in calibration["bins"] if each["count"]]
    described = [
        f"{percent(each['confidence'])} % confident, {percent(each['accuracy'])} % right, {count(each['count'], 'image')}"
        for each in bins
    ]
    label = Label("reliability", "Accuracy against confidence", "; ".join(described) + ".")
    content = {
        "evaluation": evaluation,
        "accuracy": percent(evaluation["accuracy"], 2),
        "learned": describe_learned(evaluation),
        "branches": branches if len(rows) > 1 else None,
        "classes": class_bars([Bar(each["name"], each["images"], each["right"]) for each in classes], "classes"),
        "numbers": _class_numbers(classes, images),
        "mistakes": mistakes_of(images, [each["name"] for each in classes], evaluation["model"]) if images else None,
        "correctable": correctable,
        "confused": sorted(evaluation["confused"], key=lambda pair: -pair["count"])[:MAX_PAIRS],
        "error": percent(calibration["error"]),
        "reliability": reliability_figure(bins, label) if bins else None,
        "bins": _bin_numbers(bins),
    }
    return _write(file, "evaluation.html.j2", f"{evaluation['model']} on {evaluation['folder']}", content)


def _class_numbers(classes: Sequence[ClassFigures], images: Sequence[JudgedImage]) -> Table:
    """The figures of all classes; with images, also their numbers in the confusion matrix and their most frequent mistakes."""
    taken, rows = taken_for(images), []
    for number, each in enumerate(classes, start=1):
        counts = [str(each["images"]), str(each["right"]), str(each["predicted"])]
        cells = [*counts, percent(each["recall"]), percent(each["precision"])]
        if images:
            cells = [str(number), *cells, taken.get(each["name"], "")]
        rows.append(Row(each["name"], [Cell(text) for text in cells]))
    head = ["images", "right", "predicted", "recall, %", "precision, %"]
    head = ["number", *head, "most often predicted as"] if images else head
    return Table("All classes", "class", head, rows)


def _bin_numbers(bins: Sequence[CalibrationBin]) -> Table:
    rows = []
    for each in bins:
        numbers = (str(each["count"]), percent(each["confidence"]), percent(each["accuracy"]))
        rows.append(Row(f"{percent(each['low'], 0)} to {percent(each['high'], 0)} %", [Cell(text) for text in numbers]))
    return Table("Predictions by confidence", "confidence", ["images", "mean confidence, %", "accuracy, %"], rows)


@cache
def _templates() -> Environment:
    loader = PackageLoader("mgclip.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["count"] = count
    environment.filters["are"] = are
    return environment


def _heat_rules() -> Markup:
    """Style rules ``.h0`` to ``.h100``: the colours of cividis, and a readable text colour on each."""
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
    content: Mapping[str, object],
    write: Callable[[Path, str], None] = write_output,
) -> Path:
    refuse_address(file, "file")
    page = _templates().get_template(template)
    text = page.render(title=title, version=__version__, heat_rules=_heat_rules(), **content)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, text.encode("utf-8", "replace").decode())  # a name may contain a lone surrogate
    except OSError as error:
        if error.errno in FULL:
            raise
        raise InputError(f"{file} cannot be written ({error.strerror}): give another file.") from None
    return file
