"""``mgclip correct`` and ``mgclip merge``: corrected answers, and two models in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mgclip.app.options import Base, Json, SavedModel
from mgclip.app.signals import interrupted_by_sigterm


@interrupted_by_sigterm()
def correct_command(
    model: SavedModel,
    answers: Annotated[
        Path,
        typer.Argument(help="CSV file with the columns image and class: the right class of each image."),
    ],
    base: Base = "",
    as_json: Json = False,
) -> None:
    """Give images their right classes, as a new version. An image learned in another class is removed from that class."""
    from mgclip.app.display import out, require_single_process
    from mgclip.app.streams import print_json
    from mgclip.workflows.correct import correct_table, describe_corrections

    require_single_process("correct")
    report = correct_table(model, answers, base=base)
    if as_json:
        print_json(report)
        return
    out.print(describe_corrections(report))
    if report["unchanged"] == report["images"]:
        out.print("all images are already in their right classes")


@interrupted_by_sigterm()
def merge_command(
    first: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    second: Annotated[Path, typer.Argument(help="Folder of a second model, which was started with --like and the first one.")],
    to: Annotated[Path, typer.Option(help="Folder of the merged model, which must be new.")],
    base: Base = "",
    as_json: Json = False,
) -> None:
    """Add two models of the same CLIP to a new one, as if one model had learned the images of both."""
    from mgclip.app.display import out, require_single_process
    from mgclip.app.streams import print_json
    from mgclip.workflows.merge import describe_merge, merge_models

    require_single_process("merge")
    report = merge_models(first, second, to, base=base)
    if as_json:
        print_json(report)
    else:
        for line in describe_merge(report):
            out.print(line)
