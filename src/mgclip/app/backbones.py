"""``mgclip backbones`` and ``mgclip fetch``: which CLIPs are supported, and how to copy one to this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mgclip.app.options import Json, Quiet
from mgclip.app.signals import interrupted_by_sigterm
from mgclip.app.streams import print_json, writing
from mgclip.errors import InputError
from mgclip.words import count


def backbones_command(as_json: Json = False) -> None:
    """List published CLIPs of every supported kind, with their sizes, the licences of their weights, and how to fetch them."""
    from mgclip.clip.published import PUBLISHED

    if as_json:
        print_json([{**vars(each), "fetch": _fetch(each.name)} for each in PUBLISHED])
        return
    rows = [("name", "kind", "pixels", "million parameters", "licence of the weights")]
    rows += [(each.name, each.kind, str(each.side), f"{each.parameters:,}", each.licence) for each in PUBLISHED]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, kind, pixels, parameters, licence in rows:  # not a table, which would break names that are to be copied
        typer.echo(f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {pixels:>{widths[2]}}  {parameters:>{widths[3]}}  {licence}")
    typer.echo("\nOther CLIPs of these kinds load too. Licences are as their publishers state them; read them before use.")
    typer.echo("For use without a network: mgclip fetch NAME --to FOLDER, then --base FOLDER.")


def _fetch(name: str) -> str | None:
    """The command that fetches a CLIP; None for the one in the package."""
    return f"mgclip fetch {name} --to {Path(name).name}" if "/" in name else None


@interrupted_by_sigterm()
def fetch_command(
    model: Annotated[str, typer.Argument(help="Hub id of a CLIP, such as openai/clip-vit-base-patch16.")],
    to: Annotated[Path, typer.Option(help="New folder to write it to.")],
    quiet: Quiet = False,
) -> None:
    """Copy a CLIP from the hub into a new folder, which can be moved to a machine without a network."""
    import shutil

    from mgclip.clip.hub import needed_files
    from mgclip.clip.load import hub_folder, is_hub_id
    from mgclip.export.new_folder import atomic_folder, check_new

    if not is_hub_id(model):
        raise InputError(f"{model} is not the hub id of a CLIP: give one such as openai/clip-vit-base-patch16.")
    check_new(to)
    source = hub_folder(model)
    with atomic_folder(to) as folder:
        files = needed_files([file.name for file in source.iterdir()])
        for file in files:
            shutil.copyfile(source / file, folder / file)
    if not quiet:
        size = sum((to / file).stat().st_size for file in files)
        with writing(sys.stdout):
            typer.echo(f"{to}: {count(len(files), 'file')}, {size / 1e6:,.0f} MB; use it with --base {to}")
