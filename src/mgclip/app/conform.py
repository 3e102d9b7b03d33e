"""``mgclip conform``: replay a recorded run and compare every number."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mgclip.app.options import Json
from mgclip.app.streams import print_json


def conform_command(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of a recording (trace.json, photos.npz, ...); default: the recording inside the package."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay a recorded run with the ordinary learner and print the largest deviations; exit 1 if any is too large.

    The recording inside the package was made by an independent reference implementation with iconclip.
    """
    from mgclip.experiment.conformance import LIMITS, conform
    from mgclip.experiment.recording import EMBEDDED

    result = conform(folder or EMBEDDED)
    if as_json:
        print_json(result)
    else:
        from mgclip.app.display import make_table, out

        title = f"Replay of {folder or 'the recording inside the package'}"
        table = make_table("compared", "largest deviation", "allowed", title=title)
        for kind, limit in LIMITS.items():
            table.add_row(kind.replace("_", " "), f"{result[kind]:.2e}", f"{limit:.0e}")
        table.add_row("predictions equal", f"{result['predictions_equal']:.2%}", "100 %")
        if "epochs" in result:
            table.add_row("epochs the probe allows", str(result["epochs"]), "as recorded")
        out.print(table)
        out.print("conforms" if result["ok"] else "DOES NOT conform")
    if not result["ok"]:
        raise typer.Exit(1)
