"""``mgclip reproduce``: a table or figure of the paper, all its runs, with published values beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mgclip.experiment.reproduce import Cell, Row


def reproduce_command(
    table: Annotated[str | None, typer.Argument(help="A table's name or file; none: list them.")] = None,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to all of its recipes.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each recipe, seeds counting up from the recipe's.")] = 1,
    twin: Annotated[bool, typer.Option("--twin", help="Run each recipe's twin on icons100 instead.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs and tables; default runs/TABLE.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the result of --json.")] = False,
) -> None:
    """Run a table's experiments with several seeds, or go on with them, and write one table of mean and spread."""
    from mgclip.app.display import screen
    from mgclip.experiment.reproduce import collect, finished, load_table, table_cells
    from mgclip.method.store import check_writable

    if table is None:
        _list()
        return
    known = load_table(table)
    name = f"{Path(table).stem}{'-twin' if twin else ''}"
    folder = out or Path("runs") / name
    cells = table_cells(known, folder, seeds=seeds, twin=twin, changes=changes or ())
    for cell in cells:
        finished(cell)  # refuses a folder of other settings before the first run, not after hours
    check_writable(folder)

    from mgclip.clip.parallel import is_main

    quiet = quiet or not is_main()
    try:
        summaries = [_run(cell, quiet=quiet) for cell in cells]
    except KeyboardInterrupt:
        screen.print("Stopped. What is finished is kept: give the same command again to go on.")
        raise typer.Exit(1) from None
    if not is_main():
        return
    rows = collect(cells, summaries)
    written = _write(name, folder, rows, known.published)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "rows": [vars(row) for row in rows]}))
    elif not quiet:
        from mgclip.app.display import out as results

        for line in (folder / f"{name}.md").read_text(encoding="utf-8").split("\n"):
            results.print(line)
        results.print("written: " + ", ".join(file.name for file in written) + f" in {folder}")


def _run(cell: Cell, *, quiet: bool) -> dict[str, dict[str, Any]]:
    """The summaries of a cell, run now if they are not there yet."""
    from mgclip.app.display import RunDisplay, screen
    from mgclip.experiment.records import RECIPE
    from mgclip.experiment.reproduce import finished

    if (done := finished(cell)) is not None:
        return done

    from mgclip.experiment.runner import open_run, run

    if not quiet:
        screen.print(f"{cell.recipe.name}  {cell.change}  seed {cell.recipe.seed}")
    opened = open_run(cell.recipe, cell.folder, resume=(cell.folder / RECIPE).is_file())
    with RunDisplay(len(opened.stream) * len(cell.recipe.methods), quiet=quiet) as display:
        return run(opened, on_step=display.on_step, on_task=display.on_task)


def _write(name: str, folder: Path, rows: Sequence[Row], published: Any) -> list[Path]:
    from mgclip.report.figures import change_figure, curves_figure
    from mgclip.report.tables import write_tables

    written = write_tables(rows, published, folder, name)
    varied = any(row.change for row in rows)
    for recipe in dict.fromkeys(row.recipe for row in rows):
        own = [row for row in rows if row.recipe == recipe]
        file = folder / f"{name}-{recipe}.svg"
        (change_figure if varied else curves_figure)(own, file)
        written.append(file)
    return written


def _list() -> None:
    from rich.table import Table

    from mgclip.app.display import out
    from mgclip.experiment.reproduce import load_table, shipped_tables

    shown = Table()
    shown.add_column("table", no_wrap=True)
    shown.add_column("what it runs")
    for name in shipped_tables():
        shown.add_row(name, load_table(name).about)
    out.print(shown)
