"""``mgclip evaluate``: measure a model on a folder of labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgclip.app.options import Base, Json, Names, OnBadImage, SavedModel
from mgclip.words import count, listed

if TYPE_CHECKING:
    from mgclip.experiment.evaluation import Evaluation, JudgedImage
    from mgclip.experiment.schemas import SkippedImage
    from mgclip.method.learner import MGCLIP
    from mgclip.workflows.branches import BranchAccuracies


def evaluate_command(
    model: SavedModel,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder with one sub-folder of images per class, or with train/ and test/ folders: then test/ is used. "
            "Without a folder, a solved head is measured on its learned images, each left out in turn."
        ),
    ] = None,
    names: Names = "",
    base: Base = "",
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write one row per image to this file.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write an HTML page with the mistakes as pictures.")] = None,
    on_bad_image: OnBadImage = "error",
    known_only: Annotated[
        bool, typer.Option("--known-only", help="Leave out folders of classes that the model does not know.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure accuracy, per-class recall, confusions and calibration on a labelled folder."""
    from mgclip.app.streams import print_json
    from mgclip.errors import InputError
    from mgclip.saving.versions import check_saved
    from mgclip.stream.folder import find_parts
    from mgclip.workflows.source import read_images, readable

    check_saved(model)
    files = [file for file in (csv_file, page) if file is not None]
    if folder is None:
        of_folders = {"--names": names, "--known-only": known_only, "--on-bad-image skip": on_bad_image == "skip"}
        if unused := [option for option, given in of_folders.items() if given]:
            raise InputError(f"{unused[0]} applies to the images of a folder only: give a folder, or leave {unused[0]} out.")
        _evaluate_learned(model, base, as_json=as_json, files=files)
        return
    _check_outputs(files)
    images = read_images(folder, names=names)
    skipped: list[SkippedImage] = []
    if on_bad_image == "skip":
        images, skipped = readable(images)

    from mgclip.clip.parallel import is_main
    from mgclip.method.learner import MGCLIP
    from mgclip.workflows.evaluate import branches_of, evaluate_images, only_known

    learner = MGCLIP.from_pretrained(model, base=base or None)
    images, unknown = only_known(learner, images) if known_only else (images, [])
    found, judged = evaluate_images(learner, images, model_name=str(model), folder=str(folder))
    if not is_main():
        return
    if skipped:
        found["skipped"] = skipped
    ignored = f"not measured, because the model does not know them: {listed(unknown)}" if unknown else None
    if notes := [note for note in (find_parts(folder).about, ignored) if note]:
        found["note"] = "; ".join(notes)
    _write(found, judged, csv_file, page, correctable=learner.solved is not None)
    if as_json:
        print_json(found)
    else:
        _print(found)
        _print_remarks(learner, branches_of(found), model)


def _check_outputs(files: Sequence[Path]) -> None:
    """Check, before anything is measured, that each file can be written, and that both differ unless they are one device."""
    from mgclip.errors import InputError
    from mgclip.missing import refuse_address
    from mgclip.saving.writable import check_writable

    ordinary = [file.resolve() for file in files if file.is_file() or not file.exists()]
    for file in files:
        refuse_address(file, "file")
        if file.is_dir():
            raise InputError(f"{file} cannot be written, because it is a folder: give another file.")
    for target in ordinary:
        check_writable(target.parent)
    if len(set(ordinary)) < len(ordinary):
        raise InputError(f"--csv and --page are the same file {files[0]}: give each its own.")


def _evaluate_learned(model: Path, base: str, *, as_json: bool, files: Sequence[Path]) -> None:
    """Print the leave-one-out accuracy of a solved head, and the threshold that it suggests."""
    from mgclip.app.display import out, percent
    from mgclip.app.streams import print_json
    from mgclip.errors import InputError
    from mgclip.method.learner import MGCLIP
    from mgclip.workflows.branches import each_alone
    from mgclip.workflows.evaluate import learned_evidence

    if files:
        raise InputError(f"{files[0]} cannot be written, because it lists the images of a folder: give a folder.")
    learner = MGCLIP.from_pretrained(model, base=base or None)
    found = learned_evidence(learner)
    if as_json:
        print_json({"model": str(model), **found})
        return
    left_out = found["left_out"]
    accuracy = f"leave-one-out accuracy of {model}: {percent(left_out['model'])} % of its learned images"
    out.print("; ".join(filter(None, [accuracy, each_alone(left_out)])))
    _print_remarks(learner, left_out, model)
    if learner.settings.uses_head:
        _print_threshold(found["likeness"], found["likeness_of"], learner.settings.unknown_below)


def _print_remarks(learner: MGCLIP, branches: BranchAccuracies, model: Path) -> None:
    from mgclip.app.display import out
    from mgclip.workflows.advice import ONE_CLASS
    from mgclip.workflows.branches import better_alone

    if len(learner.class_names) == 1:
        out.print(ONE_CLASS)
    if (better := better_alone(learner, branches, str(model))) is not None:
        out.print(better)


def _print_threshold(likeness: Mapping[str, float], images: str, stored: float) -> None:
    from mgclip.app.display import out

    least = f"{likeness['95']:.3f}"
    instead = f" instead of the stored {stored:g}" if stored else ""
    out.print(f"95 % of {images} have a likeness of at least {least}: use `mgclip predict --unknown-below {least}`{instead}")


def _write(
    found: Evaluation, images: Sequence[JudgedImage], csv_file: Path | None, page: Path | None, *, correctable: bool
) -> None:
    """Write the files that were asked for."""
    if csv_file is not None:
        _write_csv(images, csv_file)
    if page is not None:
        from mgclip.report.page import write_evaluation

        write_evaluation(found, page, images=images, correctable=correctable)


def _write_csv(images: Sequence[JudgedImage], file: Path) -> None:
    """Write a row for each image; ``mgclip correct`` reads the columns image and class."""
    from dataclasses import astuple, fields

    from mgclip.csv_text import csv_bytes
    from mgclip.disk import write_output
    from mgclip.experiment.evaluation import JudgedImage

    called = {"file": "image", "truth": "class"}
    columns = [called.get(field.name, field.name) for field in fields(JudgedImage)]
    file.absolute().parent.mkdir(parents=True, exist_ok=True)
    write_output(file, csv_bytes([columns, *map(astuple, images)]))


def _print(found: Evaluation) -> None:
    from mgclip.app.display import make_table, out, percent
    from mgclip.errors import one_line
    from mgclip.experiment.evaluation import describe_learned
    from mgclip.workflows.branches import each_alone
    from mgclip.workflows.evaluate import branches_of

    for each in found.get("skipped", []):
        out.print(f"skipped: {each['image']} ({each['reason']})")
    if "note" in found:
        out.print(found["note"])
    title = f"{found['model']} on {found['folder']}"
    table = make_table("class", "images", "right", "recall %", "precision %", title=title)
    for row in sorted(found["classes"], key=lambda row: (row["recall"] is None, row["recall"])):
        numbers = [str(row["images"]), str(row["right"]), percent(row["recall"]), percent(row["precision"])]
        table.add_row(one_line(row["name"]), *numbers)
    out.print(table)
    if unmeasured := found.get("unmeasured"):
        out.print(one_line(f"learned classes without images here, so not measured: {listed(unmeasured)}"))
    for pair in found["confused"][:5]:
        out.print(f"{pair['truth']} predicted as {pair['predicted']}: {pair['count']}")
    accuracy = f"accuracy {percent(found['accuracy'])} % of {count(found['images'], 'image')}"
    out.print("; ".join(filter(None, [accuracy, each_alone(branches_of(found))])))
    if (unknown := found["unknown"]) is not None:
        below = f"{percent(unknown['share'])} % of them are below the stored threshold for unknown images ({unknown['below']:g})"
        out.print(f"{below}: `mgclip predict` answers *unknown* for these")
    if learned := describe_learned(found):
        out.print(learned)
    if (likeness := found["likeness"]) is not None:
        _print_threshold(likeness, found["likeness_of"] or "these images", unknown["below"] if unknown else 0.0)
        if found["leave_one_out"] is not None and (reached := found["reached"]) is not None:
            out.print(f"of the images in {found['folder']}, {percent(reached['95'])} % reach this likeness")
    out.print(f"expected calibration error: {percent(found['calibration']['error'])} points")
