"""``mgclip report``: an HTML page of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mgclip.app.options import Json
from mgclip.app.streams import print_json


def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, finished or not.")],
    out: Annotated[Path | None, typer.Option(help="File of the page; default: report.html in the first run's folder.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page; default: the names of the recipes.")] = None,
    as_json: Json = False,
) -> None:
    """Write a report of runs: a self-contained HTML page with all tables and figures."""
    from mgclip.report.page import write_report

    page = write_report(runs, out, title=title)
    if as_json:
        print_json({"report": str(page), "bytes": page.stat().st_size, "runs": [str(run) for run in runs]})
    else:
        from mgclip.app.display import out as results

        results.print(f"report: {page}")
