"""``mgclip run``: an experiment from a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgclip.app.options import CHECKPOINT_EVERY, CheckpointEvery, Json, KeepFeatures, Quiet
from mgclip.app.streams import print_json
from mgclip.errors import InputError, MGCLIPError
from mgclip.home import in_home
from mgclip.missing import is_file
from mgclip.words import command_line, count

if TYPE_CHECKING:
    from mgclip.experiment.open_run import OpenRun
    from mgclip.experiment.recipe import Recipe
    from mgclip.experiment.schemas import Summary


def run_command(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE] [KEY=VALUE]...", help="Name or file of a recipe (default: icons100), and changes to it."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; default: runs/RECIPE, or the first unused runs/RECIPE-N.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume the run in this folder.")] = None,
    checkpoint_every: CheckpointEvery = CHECKPOINT_EVERY,
    keep_features: KeepFeatures = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run an experiment: learn task after task, measure, record, and compare the recipe's methods."""
    from mgclip.app.display import opening_images, screen

    words = arguments or []
    names = [word for word in words if "=" not in word or is_file(word)]
    changes = [word for word in words if word not in names]
    if len(names) > 1:
        raise InputError(f"A run has one recipe; found {' and '.join(names)}: give one of them.")
    if resume is not None and out is not None:
        raise InputError("Give --out for a new run or --resume for an old one, not both.")
    recipe, folder = _recipe_and_folder("".join(names), changes, out=out, resume=resume)

    from mgclip.clip.parallel import is_main
    from mgclip.experiment.open_run import open_run
    from mgclip.experiment.recipe import parse_change
    from mgclip.experiment.unused_settings import unused_settings
    from mgclip.report.page import write_report
    from mgclip.stream.folder import find_parts

    quiet = quiet or not is_main()
    with opening_images(quiet=quiet) as on_images:
        opened = open_run(recipe, folder, resume=resume is not None, on_images=on_images, keep_features=keep_features)
    if recipe.data == "folder" and not quiet and (note := find_parts(Path(in_home(recipe.data_path or ""))).about):
        screen.print(note)
    for sentence in () if quiet else unused_settings(recipe, [parse_change(change)[0] for change in changes]):
        screen.print(sentence)
    kept = [] if keep_features is None else ["--keep-features", str(keep_features)]
    again = command_line(["mgclip", "run", "--resume", str(folder), *(changes if resume is not None else []), *kept])
    summaries = _run(opened, again, checkpoint_every=checkpoint_every, quiet=quiet)
    if not is_main():
        return
    _draw(folder, summaries, recipe.name)
    page = write_report([folder])
    if as_json:
        print_json({"run": str(folder), "methods": summaries})
    elif not quiet:
        _print(opened, summaries, page)


def _recipe_and_folder(name: str, changes: Sequence[str], *, out: Path | None, resume: Path | None) -> tuple[Recipe, Path]:
    """The recipe and folder of a new run, or of the one to resume."""
    from mgclip.experiment.recipe import change_recipe, load_recipe
    from mgclip.experiment.run_folder import read_recipe

    if resume is None:
        recipe = load_recipe(name or "icons100", changes)
        return recipe, out or unused_folder(recipe.name)
    started = read_recipe(resume)
    if name and load_recipe(name).name != started.name:
        raise InputError(f"{resume} is a run of {started.name}, not of {name}: leave the recipe out.")
    return change_recipe(started, changes, source=str(resume)), resume


def unused_folder(name: str) -> Path:
    """The first unused of ``runs/NAME``, ``runs/NAME-2``, ..."""
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def _run(opened: OpenRun, again: str, *, checkpoint_every: int, quiet: bool) -> dict[str, Summary]:
    """Run with progress bars; if the run is stopped or fails, print the command ``again`` that resumes it."""
    from mgclip.app.display import RunDisplay, screen
    from mgclip.app.signals import stop_on_signal
    from mgclip.clip.parallel import is_main
    from mgclip.experiment.runner import run
    from mgclip.saving.checkpoints import Stopped

    total = len(opened.stream) * len(opened.recipe.methods)
    try:
        with RunDisplay(total, quiet=quiet) as display, stop_on_signal() as stop:
            return run(
                opened,
                on_step=display.on_step,
                on_task=display.on_task,
                checkpoint_every=checkpoint_every,
                stop=stop,
            )
    except KeyboardInterrupt as stopped:
        if is_main():
            left = "Progress is saved; resume with" if isinstance(stopped, Stopped) else _left(opened)
            screen.print(f"Stopped. {left}: `{again}`")
        raise typer.Exit(1) from None
    except MGCLIPError:
        raise
    except Exception:  # of any process: the others may be waiting for it
        screen.print(f"{_left(opened)}: `{again}`")
        raise


def _left(opened: OpenRun) -> str:
    """What a run has left that ended before its end, as the beginning of a sentence."""
    from mgclip.experiment.runner import has_progress

    if has_progress(opened):
        return "Progress up to the last checkpoint is saved; resume with"
    return "No task and no checkpoint is saved yet; start the run again with"


def _draw(folder: Path, summaries: Mapping[str, Summary], name: str) -> None:
    from mgclip.report.file_figures import accuracy_figure

    curves = {method: summary["accuracy_after"] for method, summary in summaries.items()}
    accuracy_figure(curves, folder / "accuracy.svg", title=f"{name}: accuracy over all classes seen")


def _print(opened: OpenRun, summaries: Mapping[str, Summary], page: Path) -> None:
    from mgclip.app.display import out, percent, retention_table, summary_table, uneven_table
    from mgclip.experiment.published import published_results
    from mgclip.experiment.run_folder import SKIPPED

    recipe, folder = opened.recipe, opened.folder
    out.print(summary_table(f"{recipe.name}, seed {recipe.seed}", summaries))
    for table in (uneven_table(summaries), retention_table(summaries)):
        if table is not None:
            out.print(table)
    for method, published in published_results(recipe).items():
        found = summaries.get(method)
        shares = (None, None) if found is None else (found["average"], found["last"])
        for name, stated, share in zip(("Avg", "Last"), (published.avg, published.last), shares, strict=True):
            if stated is not None:
                measured = "not run" if share is None else f"measured {percent(share)}"
                out.print(f"{method} {name}: published {stated:.2f} ({published.source}), {measured}")
    if opened.skipped:
        out.print(f"skipped {count(len(opened.skipped), 'unreadable image')}: {folder / SKIPPED}")
    out.print(f"records, models and accuracy.svg: {folder}")
    out.print(f"report: {page}")
