"""``mgclip report``: runs as one HTML page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, finished or not.")],
    out: Annotated[Path | None, typer.Option(help="The page; default report.html in the first run's folder.")] = None,
    title: Annotated[str | None, typer.Option(help="Its title; default the recipes' names.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the page's place and size as JSON.")] = False,
) -> None:
    """Write a report of runs: one HTML page with every table and figure, which needs nothing else to be read."""
    from mgclip.report.page import write_report

    page = write_report(runs, out, title=title)
    if as_json:
        typer.echo(json.dumps({"report": str(page), "bytes": page.stat().st_size, "runs": [str(run) for run in runs]}))
    else:
        from mgclip.app.display import out as results

        results.print(f"report: {page}")
