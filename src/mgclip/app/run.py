"""``mgclip run``: an experiment from a recipe."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mgclip.experiment.schemas import Summary


def free_folder(name: str) -> Path:
    """The first unused of ``runs/NAME``, ``runs/NAME-2``, ..."""
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def run_command(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE] [KEY=VALUE]...", help="A recipe's name or file (icons100), and changes to it."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default runs/RECIPE, the first unused.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, help="Steps between checkpoints inside a task; there is one at each phase anyway.")
    ] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the result of --json.")] = False,
) -> None:
    """Run an experiment: learn task after task, measure, record, and compare the recipe's methods."""
    from mgclip.app.display import RunDisplay, opening_images, retention_table, screen, summary_table
    from mgclip.app.display import out as results
    from mgclip.app.signals import stop_on_signal
    from mgclip.errors import InputError, MGCLIPError
    from mgclip.experiment.recipe import as_shipped, change_recipe, load_recipe
    from mgclip.experiment.run_folder import read_recipe

    words = arguments or []
    names, changes = [w for w in words if "=" not in w], [w for w in words if "=" in w]
    if len(names) > 1:
        raise InputError(f"One recipe at a time; found {' and '.join(names)}.")
    if resume is not None and out is not None:
        raise InputError("Give --out for a new run or --resume for an old one, not both.")
    if resume is None:
        recipe = load_recipe(names[0] if names else "icons100", changes)
        folder = out or free_folder(recipe.name)
    else:
        folder, begun = resume, read_recipe(resume)
        if names and load_recipe(names[0]).name != begun.name:
            raise InputError(f"{folder} is a run of {begun.name}, not of {names[0]}.")
        recipe = change_recipe(begun, changes, source=str(folder))

    from mgclip.clip.parallel import is_main
    from mgclip.experiment.runner import open_run, run
    from mgclip.report.page import write_report
    from mgclip.saving.checkpoints import Stopped
    from mgclip.stream.folder import find_parts

    quiet = quiet or not is_main()
    with opening_images(quiet=quiet) as on_images:
        opened = open_run(recipe, folder, resume=resume is not None, on_images=on_images)
    if recipe.data == "folder" and not quiet and (note := find_parts(Path(recipe.data_path or "").expanduser()).about):
        screen.print(note, soft_wrap=True)
    again = shlex.join(["mgclip", "run", "--resume", str(folder), *(changes if resume is not None else [])])
    try:
        with RunDisplay(len(opened.stream) * len(recipe.methods), quiet=quiet) as display, stop_on_signal() as stop:
            summaries = run(
                opened,
                on_step=display.on_step,
                on_task=display.on_task,
                checkpoint_every=checkpoint_every,
                stop=stop,
            )
    except KeyboardInterrupt as stopped:
        kept = "All steps so far are kept" if isinstance(stopped, Stopped) else "What the last checkpoint holds is kept"
        screen.print(f"Stopped. {kept}: go on with  {again}", soft_wrap=True)
        raise typer.Exit(1) from None
    except MGCLIPError:
        raise
    except Exception:
        screen.print(f"What the last checkpoint holds is kept: go on with  {again}", soft_wrap=True)
        raise
    if not is_main():
        return
    _figure(folder, summaries, recipe.name)
    page = write_report([folder])
    if as_json:
        typer.echo(json.dumps({"run": str(folder), "methods": summaries}))
    elif not quiet:
        results.print(summary_table(f"{recipe.name}, seed {recipe.seed}", summaries))
        if (table := retention_table(summaries)) is not None:
            results.print(table)
        if as_shipped(recipe):
            _compare(recipe, summaries)
        if opened.skipped:
            results.print(f"{len(opened.skipped)} images cannot be read and were left out: {folder / 'skipped.json'}")
        results.print(f"records, models and accuracy.svg: {folder}; all of it to look at: {page}")


def _figure(folder: Path, summaries: dict[str, Summary], name: str) -> None:
    from mgclip.report.file_figures import accuracy_figure

    curves = {method: summary["accuracy_after"] for method, summary in summaries.items()}
    accuracy_figure(curves, folder / "accuracy.svg", title=f"{name}: accuracy over all classes seen")


def _compare(recipe: Any, summaries: dict[str, Summary]) -> None:
    """Published accuracy beside the measured one, where the recipe knows it."""
    from mgclip.app.display import out, percent

    if (summary := summaries.get("mg-clip")) is None:
        return
    for name, published, measured in (
        ("Avg", recipe.expected_avg, summary["average"]),
        ("Last", recipe.expected_last, summary["last"]),
    ):
        if published is not None:
            out.print(f"mg-clip {name}: published {published:.2f}, measured {percent(measured)}")
