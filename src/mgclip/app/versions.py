"""``mgclip history``, ``undo``, ``relabel`` and ``forget``: the versions of a model, and changes that need no training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mgclip.method.learner import MGCLIP

Model = Annotated[Path, typer.Argument(help="Folder of a saved model.")]
Base = Annotated[str, typer.Option(help="Where the model's CLIP is now, if it has moved.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def history_command(
    model: Model,
    keep: Annotated[
        int, typer.Option(min=0, help="Remove all but so many of the latest versions, and the one in force, for good.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """List the versions of a model: what was learned when, and how well it did."""
    from dataclasses import asdict

    from mgclip.app.display import out, percent
    from mgclip.errors import one_line
    from mgclip.saving.versions import history, prune, shown

    gone = prune(model, keep) if keep else []
    versions = history(model)
    if as_json:
        typer.echo(json.dumps({"versions": [asdict(version) for version in versions], "removed": gone}))
        return
    if not versions:
        out.print(
            f"{model} keeps no versions: it was saved by a program or a run. The next  mgclip learn  begins them."
        )
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for column in ("version", "from", "when (UTC)", "what", "images", "new %", "earlier %"):
        table.add_column(column, justify="left" if column in ("when (UTC)", "what") else "right")
    for version in versions:
        note = shown(version.note)
        measured = note["accuracy"]
        table.add_row(
            f"{version.number}{' *' if version.active else '  '}", str(version.parent or "-"),
            one_line(version.time[:16].replace("T", " ")), one_line(_what(note)), str(note.get("images", "-")),
            percent(measured.get("new")), percent(measured.get("old")),
        )  # fmt: skip
    out.print(table)
    out.print("* in force" + (f"; removed for good: {', '.join(map(str, gone))}" if gone else ""))


def _what(note: Any) -> str:
    what, names = str(note.get("what", "saved")), [str(name) for name in note.get("classes", [])]
    return f"{what}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else what


def undo_command(
    model: Model,
    to: Annotated[
        int | None, typer.Option(help="The version to go to, back or forward; default: the one before.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put the version before the last learn back in force; nothing is lost, --to leads forward again."""
    from mgclip.app.display import out
    from mgclip.method.model_files import undo
    from mgclip.saving.versions import shown

    version = undo(model, to)
    if as_json:
        typer.echo(json.dumps({"model": str(model), "version": version.number}))
    else:
        out.print(f"version {version.number} of {model} is in force: {_what(shown(version.note))}")


def relabel_command(
    model: Model,
    old: Annotated[str, typer.Argument(help="A class the model has learned.")],
    new: Annotated[str, typer.Argument(help="Its new name.")],
    text: Annotated[str, typer.Option(help="What prompts call it; default: the new name.")] = "",
    base: Base = "",
) -> None:
    """Give a learned class another name, as a new version."""
    from mgclip.app.display import out
    from mgclip.names import same
    from mgclip.saving.store import HELD_OUT
    from mgclip.workflows.held_out import as_json, read_held_out

    def change(learner: MGCLIP) -> dict[str, Any]:
        learner.relabel(old, new, text or None)
        held = read_held_out(model)
        return {HELD_OUT: as_json({new if same(name) == same(old) else name: files for name, files in held.items()})}

    _change(model, base, change, f"called {old} {new}")
    out.print(f"{old} is now called {new}")


def forget_command(
    model: Model,
    name: Annotated[str, typer.Argument(help="A class the model has learned.")],
    base: Base = "",
) -> None:
    """Drop a learned class, as a new version, and say what cannot be forgotten."""
    from mgclip.app.display import out
    from mgclip.names import same
    from mgclip.saving.store import HELD_OUT
    from mgclip.saving.versions import history
    from mgclip.workflows.held_out import as_json, read_held_out

    def change(learner: MGCLIP) -> dict[str, Any]:
        learner.forget(name)
        held = read_held_out(model)
        return {HELD_OUT: as_json({other: files for other, files in held.items() if same(other) != same(name)})}

    _change(model, base, change, f"forgot {name}")
    older = [str(version.number) for version in history(model) if not version.active]
    out.print(f"{name} is no answer any more: its row of the head, its name and its images in memory are gone.")
    out.print(
        "What its images taught the adapters stays, for it cannot be told apart from what other images taught them."
    )
    out.print(
        f"Earlier versions ({', '.join(older)}) may still hold it:  mgclip history {model} --keep 1  removes them for good."
    )


def _change(folder: Path, base: str, change: Callable[[MGCLIP], dict[str, Any]], what: str) -> None:
    """Load the model, change it and save it as a new version, alone with the folder."""
    from mgclip.saving.lock import only_writer
    from mgclip.saving.store import WAIT
    from mgclip.saving.versions import check_saved

    check_saved(folder)
    from mgclip.method.learner import MGCLIP

    with only_writer(folder, wait=WAIT):
        learner = MGCLIP.from_pretrained(folder, base=base or None)
        beside = change(learner)
        learner.save_pretrained(folder, note={"what": what}, beside=beside)
