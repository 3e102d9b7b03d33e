"""``mgclip reproduce``: a table or figure of the paper, all its runs, with published values next to the measured ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgclip.app.options import Json, KeepFeatures, Quiet
from mgclip.app.streams import print_json
from mgclip.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mgclip.experiment.reproduce import TableRun
    from mgclip.experiment.schemas import Summary
    from mgclip.report.tables import TableContent

MOST = 1000
"""The largest number of seeds, and of class orders."""


def reproduce_command(
    table: Annotated[
        str | None, typer.Argument(help="Name or file of a table, or name of a recipe; without one, list the tables.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to all recipes of the table.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=MOST, help="Number of seeds, starting with the recipe's own.")] = 1,
    class_orders: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Numbered class orders, each with every seed: 1993-1997, or 1993,1995.")
    ] = "",
    twin: Annotated[bool, typer.Option("--twin", help="Run the twin of each recipe on icons100 instead.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs and tables; default: runs/TABLE.")] = None,
    keep_features: KeepFeatures = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run or resume the experiments of a table with several seeds and class orders, and write mean and standard deviation as one
    table. A recipe is a table of itself.
    """
    from mgclip.app.display import screen
    from mgclip.experiment.recipe import parse_change
    from mgclip.experiment.reproduce import finished, load_table, table_runs
    from mgclip.experiment.table_results import collect, compared, per_seed
    from mgclip.saving.writable import check_writable

    if table is None:
        _list()
        return
    known = load_table(table)
    name = f"{Path(table).stem}{'-twin' if twin else ''}"
    folder = out or Path("runs") / name
    orders = numbers(class_orders)
    runs = table_runs(known, folder, seeds=seeds, twin=twin, changes=changes or (), class_orders=orders)
    done = [run for run in runs if finished(run)]  # rejects a folder with other settings before the first run, not after hours
    check_writable(folder)
    if len(done) < len(runs):
        _check_data(done)

    from mgclip.clip.parallel import is_main

    quiet = quiet or not is_main()
    for sentence in [] if quiet else _unused(runs, [*known.changes, *(parse_change(change)[0] for change in changes or ())]):
        screen.print(sentence)
    try:
        summaries = _run_all(runs, keep_features, quiet=quiet)
    except KeyboardInterrupt:
        if is_main():
            screen.print("Stopped. Finished runs and tasks are saved: run the same command again to resume.")
        raise typer.Exit(1) from None
    if not is_main():
        return
    content = collect(runs, summaries), known.published, per_seed(runs, summaries), compared(runs)
    written = _write(name, folder, content, [run.folder for run in runs])
    if as_json:
        _print_as_json(folder, content)
    elif not quiet:
        _print_table(folder / f"{name}.md", written)


def _print_as_json(folder: Path, content: TableContent) -> None:
    rows, _, seeds, pairs = content
    compared = [{"recipe": recipe, "change": change, **vars(pair)} for (recipe, change), own in pairs.items() for pair in own]
    print_json({"folder": str(folder), "rows": [vars(row) for row in rows], "pairs": compared, "seeds": seeds})


def _print_table(table: Path, written: Sequence[Path]) -> None:
    from mgclip.app.display import out
    from mgclip.markdown import as_read

    for line in table.read_text(encoding="utf-8").split("\n"):
        out.print(as_read(line))
    out.print(f"wrote {', '.join(file.name for file in written)} in {table.parent}")


def numbers(text: str) -> list[int]:
    """The numbers in a list such as ``1993-1997`` or ``1993,1995``. Raises ``InputError`` if it is not one, or too long."""
    found: list[int] = []
    for part in filter(None, map(str.strip, text.split(","))):
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part, re.ASCII)  # larger numbers are no class orders
        first, last = (0, -1) if match is None else (int(match[1]), int(match[2] or match[1]))
        if last < first:
            raise InputError(f"--class-orders must be numbers such as 1993-1997 or 1993,1995; found {part!r}.")
        if len(found) + last + 1 - first > MOST:
            raise InputError(f"--class-orders must be at most {MOST:,} numbers; found {text!r}: give fewer.")
        found += range(first, last + 1)
    return found


def _unused(runs: Sequence[TableRun], changed: Sequence[str]) -> list[str]:
    """Sentences, each once, on changes that methods of the runs do not use: those of all runs (``changed``) and those of each."""
    from mgclip.experiment.recipe import parse_change
    from mgclip.experiment.unused_settings import unused_settings

    found: dict[str, None] = {}
    for run in runs:
        own = [parse_change(run.change)[0]] if run.change else []
        found |= dict.fromkeys(unused_settings(run.recipe, [*changed, *own]))
    return list(found)


def _check_data(done: Sequence[TableRun]) -> None:
    """Check that all runs of a mean have the same data: the finished ones must have had what the others will have."""
    from mgclip.experiment import run_folder
    from mgclip.experiment.open_run import build_stream
    from mgclip.stream.fingerprint import fingerprint

    recorded = {file.read_bytes(): run for run in done if (file := run.folder / run_folder.DATA).is_file()}
    for run in recorded.values():  # runs that recorded the same had the same data, so one of them is enough
        run_folder.check_data(run.folder, fingerprint(build_stream(run.recipe)))


def _run_all(runs: Sequence[TableRun], keep_features: Path | None, *, quiet: bool) -> list[dict[str, Summary]]:
    """The summaries of all runs. Before a run begins, the data is compared with that of the first run of its recipe, because it
    may have changed in the hours since.
    """
    from mgclip.experiment.reproduce import finished

    first: dict[str, TableRun] = {}
    summaries = []
    for run in runs:
        if run.recipe.name in first and finished(run) is None:
            _check_data([first[run.recipe.name]])
        summaries.append(_run(run, keep_features, quiet=quiet))
        first.setdefault(run.recipe.name, run)
    return summaries


def _run(planned: TableRun, keep_features: Path | None, *, quiet: bool) -> dict[str, Summary]:
    """The summaries of a run of the table. It is started, or resumed, if it has not finished."""
    from mgclip.app.display import RunDisplay, screen
    from mgclip.experiment.reproduce import finished
    from mgclip.experiment.run_folder import RECIPE

    if (done := finished(planned)) is not None:
        return done

    from mgclip.experiment.open_run import open_run
    from mgclip.experiment.runner import run

    if not quiet:
        screen.print(f"{planned.recipe.name}  {planned.change}  {planned.folder.name.replace('-', ' ')}")
    resume = (planned.folder / RECIPE).is_file()
    opened = open_run(planned.recipe, planned.folder, resume=resume, keep_features=keep_features)
    with RunDisplay(len(opened.stream) * len(planned.recipe.methods), quiet=quiet) as display:
        return run(opened, on_step=display.on_step, on_task=display.on_task)


def _write(name: str, folder: Path, results: TableContent, runs: Sequence[Path]) -> list[Path]:
    """Write the table, a figure for each recipe as SVG and PDF, and the report of all runs; returns the files."""
    from mgclip.report.file_figures import change_figure, curves_figure
    from mgclip.report.page import write_report
    from mgclip.report.tables import write_tables

    rows = results[0]
    written = write_tables(*results, folder, name)
    figure = change_figure if any(row.change for row in rows) else curves_figure
    for recipe in dict.fromkeys(row.recipe for row in rows):
        for ending in ("svg", "pdf"):
            file = folder / f"{name}-{recipe}.{ending}"
            figure([row for row in rows if row.recipe == recipe], file)
            written.append(file)
    return [*written, write_report(runs, folder / "report.html", title=name)]


def _list() -> None:
    from mgclip.app.display import make_table, out
    from mgclip.experiment.reproduce import load_table, shipped_tables

    tables = make_table("table", "content", text=("content",))
    for name in shipped_tables():
        tables.add_row(name, load_table(name).about)
    out.print(tables)
