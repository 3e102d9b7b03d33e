"""``mgclip history``, ``undo``, ``set``, ``relabel`` and ``forget``: the versions of a model, and edits that need no training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mgclip.app.options import Base, Json, SavedModel
from mgclip.app.signals import interrupted_by_sigterm
from mgclip.words import command_line, count

WIDE = 100
"""Columns of a terminal from which a date and its time are on one line."""


def history_command(
    model: SavedModel,
    keep: Annotated[
        int,
        typer.Option(min=0, help="Permanently delete all but the N latest versions and the active one; 0: delete none."),
    ] = 0,
    as_json: Json = False,
) -> None:
    """List the versions of a model: when each was made, what it learned, and how accurate it was on the classes it learned and on
    earlier ones.
    """
    from dataclasses import asdict
    from itertools import pairwise

    from mgclip.app.display import make_table, out, percent
    from mgclip.app.streams import print_json
    from mgclip.errors import one_line
    from mgclip.saving.store import read_manifest
    from mgclip.saving.versions import describe, history, prune, shown
    from mgclip.workflows.note import decision_in, leave_one_out_in

    deleted = prune(model, keep) if keep else []
    versions = history(model)
    if as_json:
        print_json({"versions": [asdict(version) for version in versions], "removed": deleted})
        return
    if not versions:
        adds = "" if "baseline" in read_manifest(model)[0] else " The next `mgclip learn` adds one."
        out.print(f"{model} has no versions, because it was saved by a program or a run.{adds}")
        return
    left_out = [leave_one_out_in(version.note) for version in versions]
    extra = [] if all(share is None for share in left_out) else ["leave-\none-out\n%"]
    branched = any(version.parent != before.number for before, version in pairwise(versions))  # after an `undo`
    origin = ["from"] if branched else []
    table = make_table(
        *("version", *origin, "when (UTC)", "what", "images", "learned\n%", "earlier\n%", *extra), text=("when (UTC)", "what")
    )
    table.columns[0].justify = "right"
    for column in table.columns:
        column.no_wrap = column.header != "what"
    between = " " if out.width >= WIDE else "\n"  # on a narrow screen the time is below the date
    for version, share in zip(versions, left_out, strict=True):
        note = shown(version.note)
        number, parent = f"{version.number}{' *' if version.active else '  '}", str(version.parent or "-")
        when, what = between.join(map(one_line, version.time[:16].split("T"))), one_line(describe(version.note))
        accuracy = [percent(note["accuracy"].get(key)) for key in ("new", "old")] + [percent(share) for _ in extra]
        table.add_row(number, *(parent for _ in origin), when, what, str(note.get("images", "-")), *accuracy)
    out.print(table)
    for version in versions:
        if decided := decision_in(version.note):
            out.print(f"version {version.number}: {decided}")
    out.print("* active" + (f"; permanently deleted: {', '.join(map(str, deleted))}" if deleted else ""))


def undo_command(
    model: SavedModel,
    to: Annotated[int | None, typer.Option(help="The version to go to; default: the previous one.")] = None,
    as_json: Json = False,
) -> None:
    """Go back to the previous version, or with --to to any version, forwards too. No version is deleted."""
    from mgclip.app.display import out
    from mgclip.app.streams import print_json
    from mgclip.method.model_files import undo
    from mgclip.saving.versions import describe

    version = undo(model, to)
    if as_json:
        print_json({"model": str(model), "version": version.number})
    else:
        out.print(f"version {version.number} of {model} is active: {describe(version.note)}")


@interrupted_by_sigterm()
def set_command(
    model: SavedModel,
    changes: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="Settings to change, such as branches=image or unknown_below=0.5.")
    ],
    base: Base = "",
    as_json: Json = False,
) -> None:
    """Change settings of a model that need no training, as a new version: branches, weights, the threshold for unknown images."""
    from mgclip.app.display import out, require_single_process
    from mgclip.app.streams import print_json
    from mgclip.experiment.recipe import parse_change
    from mgclip.workflows.edit_model import set_settings

    require_single_process("set")
    changed = set_settings(model, dict(map(parse_change, changes)), base=base)
    if as_json:
        print_json({"model": str(model), "changed": changed})
    else:
        out.print("; ".join(changed) if changed else "all settings already have these values")


@interrupted_by_sigterm()
def relabel_command(
    model: SavedModel,
    old: Annotated[str, typer.Argument(help="A class that the model has learned.")],
    new: Annotated[str, typer.Argument(help="Its new name, or a learned class to unite it with.")],
    text: Annotated[str, typer.Option(help="The word for it in prompts; default: the new name.")] = "",
    base: Base = "",
) -> None:
    """Rename a learned class, or unite it with another one, as a new version."""
    from mgclip.app.display import out, require_single_process
    from mgclip.names import tidy
    from mgclip.workflows.edit_model import relabel_class

    require_single_process("relabel")
    united = relabel_class(model, old, new, text=text, base=base)
    out.print(f"united {old} with {tidy(new)}" if united else f"renamed {old} to {tidy(new)}")


@interrupted_by_sigterm()
def forget_command(
    model: SavedModel,
    name: Annotated[str, typer.Argument(help="A class that the model has learned.")],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder with all images that the class was learned from, to remove their traces from a solved head."),
    ] = None,
    base: Base = "",
) -> None:
    """Remove a learned class, as a new version. Prints what cannot be removed."""
    from mgclip.app.display import out, require_single_process
    from mgclip.workflows.edit_model import forget_class

    require_single_process("forget")
    done = forget_class(model, name, images=images, base=base)
    parts = (
        "its name, its part of the head and its images in the replay memory"
        if done.replayed
        else "its name and its part of the head"
    )
    out.print(f"{name} was removed: {parts}.")
    if done.images:
        out.print(f"Removed its {count(done.images, 'image')} from the sums over all images, so the head keeps no trace of them.")
    if done.traces:
        out.print(
            "The scatter of its images around their mean remains in sums over all images; "
            "to remove that too, go back (`mgclip undo`) and give its images with --images."
        )
    if done.adapted:
        out.print("What the adapters learned from its images cannot be removed.")
    out.print(
        f"Other versions ({', '.join(map(str, done.versions))}) may still contain it; "
        f"to delete them: `mgclip history {command_line([str(model)])} --keep 1`"
    )
