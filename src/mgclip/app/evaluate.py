"""``mgclip evaluate``: how well a model does on a folder of labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from mgclip.experiment.confusion import Evaluation


def evaluate_command(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    folder: Annotated[
        Path, typer.Argument(help="One folder of images for each class; or train/ and test/: then test/.")
    ],
    names: Annotated[
        str, typer.Option(help="Class names: a CSV file (folder,name,text), or folder=name,folder=name.")
    ] = "",
    base: Annotated[str, typer.Option(help="Where the model's CLIP is now, if it has moved.")] = "",
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the classes into this CSV file.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write everything as one HTML page.")] = None,
    on_bad_image: Annotated[
        Literal["error", "skip"], typer.Option(help="What to do about an image that cannot be read.")
    ] = "error",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Accuracy, per class, what is confused with what, and how far confidence can be trusted."""
    from mgclip.saving.store import check_writable
    from mgclip.saving.versions import check_saved
    from mgclip.stream.folder import find_parts
    from mgclip.workflows.source import read_images, readable

    check_saved(model)
    for file in (csv_file, page):
        if file is not None and (file.is_file() or not file.exists()):
            check_writable(file.resolve().parent)
    images = read_images(folder, names=names)
    skipped: list[dict[str, str]] = []
    if on_bad_image == "skip":
        images, skipped = readable(images)

    from mgclip.clip.parallel import is_main
    from mgclip.method.learner import MGCLIP
    from mgclip.workflows.evaluate import evaluate_folder

    learner = MGCLIP.from_pretrained(model, base=base or None)
    found = evaluate_folder(learner, images, model_name=str(model), folder=str(folder))
    if not is_main():
        return
    if skipped:
        found["skipped"] = skipped
    if (note := find_parts(folder).about) is not None:
        found["note"] = note
    if csv_file is not None:
        import pandas as pd

        from mgclip.disk import write_output

        csv_file.absolute().parent.mkdir(parents=True, exist_ok=True)
        write_output(csv_file, pd.DataFrame(found["classes"]).to_csv(index=False))
    if page is not None:
        from mgclip.report.page import write_evaluation

        write_evaluation(found, page)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _print(found)


def _print(found: Evaluation) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mgclip.app.display import out, percent
    from mgclip.errors import one_line

    for each in found.get("skipped", []):
        out.print(f"left out: {each['image']} ({each['reason']})")

    if "note" in found:
        out.print(one_line(found["note"]))
    if missing := found.get("unmeasured"):
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        out.print(one_line(f"learned classes without images here, so not measured: {', '.join(missing[:5])}{more}"))
    table = Table(title=f"{found['model']} on {found['folder']}", title_justify="left", box=SIMPLE_HEAD)
    for column in ("class", "images", "right", "recall %", "precision %"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in sorted(found["classes"], key=lambda row: (row["recall"] is None, row["recall"])):
        numbers = [str(row["images"]), str(row["right"]), percent(row["recall"]), percent(row["precision"])]
        table.add_row(one_line(row["name"]), *numbers)
    out.print(table)
    for pair in found["confused"][:5]:
        out.print(f"{pair['truth']} taken for {pair['predicted']}: {pair['count']}")
    out.print(
        f"accuracy {percent(found['accuracy'])} % of {found['images']} images; by class texts alone "
        f"{percent(found['text_accuracy'])} %, by the head alone {percent(found['image_accuracy'])} %"
    )
    if found["likeness"] is not None:
        least = found["likeness"]["95"]
        out.print(
            f"95 % of these images are like a learned class by {least:.3f}:  "
            f"mgclip predict --unknown {least:.3f}  keeps them"
        )
    out.print(f"confidence is off by {percent(found['calibration']['error'])} points (expected calibration error)")
