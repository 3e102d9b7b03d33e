"""``mgclip conform``: replay a recorded run and compare every number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def conform_command(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of a recording (trace.json, photos.npz, ...). Default: the one inside the package."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Replay a recorded run with the ordinary learner and print the largest deviations; exit 1 if any is too large.

    The recording inside the package was made by an independent reference implementation with iconclip.
    """
    from mgclip.experiment.conformance import LIMITS, conform
    from mgclip.experiment.recording import EMBEDDED

    result = conform(folder or EMBEDDED)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        from rich.table import Table

        from mgclip.app.display import out

        table = Table(title=f"Replay of {folder or 'the recording inside the package'}", title_justify="left")
        for column in ("compared", "largest deviation", "allowed"):
            table.add_column(column, justify="left" if column == "compared" else "right")
        for kind, limit in LIMITS.items():
            table.add_row(kind.replace("_", " "), f"{result[kind]:.2e}", f"{limit:.0e}")
        table.add_row("predictions equal", f"{result['predictions_equal']:.2%}", "100 %")
        if "epochs" in result:
            table.add_row("epochs the probe allows", str(result["epochs"]), "as recorded")
        out.print(table)
        out.print("conforms" if result["ok"] else "DOES NOT conform")
    if not result["ok"]:
        raise typer.Exit(1)
