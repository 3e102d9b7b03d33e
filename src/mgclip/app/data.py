"""``mgclip data``: list the known data sets, check that a copy is complete, or show the stream of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mgclip.app.options import Command, Json
from mgclip.app.paths import with_home
from mgclip.app.streams import print_json
from mgclip.words import count

if TYPE_CHECKING:
    from mgclip.stream.check import DatasetReport
    from mgclip.stream.entry import DatasetEntry

app = typer.Typer(
    help="List the data sets, check that your copy of one is complete, or show the stream of a recipe.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list", cls=Command)
@with_home
def list_command(as_json: Json = False) -> None:
    """List the data sets: classes, images, source, and expected layout on disk."""
    from mgclip.app.display import make_table, out
    from mgclip.stream.datasets import DATASETS

    if as_json:
        print_json({name: _facts_of(entry) for name, entry in DATASETS.items()})
        return
    table = make_table("data set", "classes", "train", "test", "content", text=("content",))
    for name, entry in DATASETS.items():
        images = ("-" if part.images is None else f"{part.images:,}" for part in (entry.train, entry.test))
        table.add_row(name, f"{entry.classes or '-'}", *images, entry.about)
    out.print(table)
    for name, entry in DATASETS.items():
        out.print(name)
        if entry.hub:
            out.print(f"  hub     {entry.hub.id}{', accept its terms there first' if entry.hub.gated else ''}")
        out.print(f"  source  {entry.source}")
        out.print(f"  layout  {entry.layout}")


def _facts_of(entry: DatasetEntry) -> dict[str, object]:
    return {
        "about": entry.about,
        "classes": entry.classes,
        "train_images": entry.train.images,
        "test_images": entry.test.images,
        "test_only": entry.test_only,
        "hub": entry.hub.id if entry.hub else None,
        "source": entry.source,
        "layout": entry.layout,
    }


@app.command("check", cls=Command)
@with_home
def check_command(
    name: Annotated[str, typer.Argument(help="Name of a data set, as `mgclip data list` shows it.")],
    path: Annotated[str | None, typer.Argument(help="Path of the data; default: the hub, or the icon fonts.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only count the images; do not open them.")] = False,
    test_only: Annotated[bool, typer.Option("--test-only", help="Skip the training part.")] = False,
    as_json: Json = False,
) -> None:
    """Check a data set: every class exists, every image can be read, and the counts are the published ones."""
    from mgclip.app.display import opening_images
    from mgclip.experiment.recipe import recipes_for
    from mgclip.stream.check import check_dataset

    with opening_images(quiet=as_json) as on_images:
        report = check_dataset(name, path, quick=quick, test_only=test_only, on_images=on_images)
    recipes = recipes_for(name)
    if as_json:
        print_json(_as_json(report, recipes))
    else:
        _show(report, recipes)
    if report.findings:
        raise typer.Exit(1)


@app.command("show", cls=Command)
@with_home
def show_command(
    recipe: Annotated[str, typer.Argument(help="Name or file of a recipe.")] = "icons100",
    changes: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")] = None,
    as_json: Json = False,
) -> None:
    """Show the stream of a recipe: the classes and images of each task. No image is opened and nothing is learned."""
    from mgclip.experiment.open_run import build_stream
    from mgclip.experiment.recipe import load_recipe
    from mgclip.stream.tasks import describe_task

    chosen = load_recipe(recipe, changes or ())
    stream = build_stream(chosen)
    tasks = [describe_task(stream, task) for task in stream]
    if as_json:
        print_json({"recipe": chosen.name, "data": chosen.data_names, "seed": chosen.seed, "tasks": tasks})
        return

    from mgclip.app.display import make_table, out

    classes = sum(len(task["classes"]) for task in tasks)
    title = f"{chosen.name}, seed {chosen.seed}: {count(len(tasks), 'task')}, {count(classes, 'class', 'classes')}"
    table = make_table("task", "classes", "train", "min / class", "median", "max", "come back", "test", title=title)
    for number, task in enumerate(tasks, start=1):
        images, low, middle, high = _spread(list(task["classes"].values()))
        spread = f"{images:,}", f"{low:,}", f"{middle:,g}", f"{high:,}"
        returning = f"{sum(task['returning'].values()):,}" if task["returning"] else "-"
        table.add_row(f"{number}", f"{len(task['classes'])}", *spread, returning, f"{task['test_images']:,}")
    out.print(table)


def _spread(counts: list[int]) -> tuple[int, int, float, int]:
    """The number of images, and the smallest, the median and the largest number in a class."""
    from statistics import median

    return (sum(counts), min(counts), median(counts), max(counts)) if counts else (0, 0, 0, 0)


def _as_json(report: DatasetReport, recipes: list[str]) -> dict[str, object]:
    parts = {
        part: dict(zip(("images", "min", "median", "max"), _spread(counts), strict=True))
        for part, counts in report.counts.items()
    }
    classes = [
        {"class": name, **{part: counts[label] for part, counts in report.counts.items()}}
        for label, name in enumerate(report.class_names)
    ]
    return {
        "data": report.data,
        "place": report.path,
        "parts": parts,
        "classes": classes,
        "opened": report.opened,
        "findings": [vars(finding) for finding in report.findings],
        "notes": list(report.notes),
        "recipes": recipes,
        "ok": not report.findings,
    }


def _show(report: DatasetReport, recipes: list[str]) -> None:
    from mgclip.app.display import make_table, out

    if report.counts:
        title = f"{report.data} from {report.path}: {count(len(report.class_names), 'class', 'classes')}"
        table = make_table("part", "images", "min / class", "median", "max", title=title)
        for part, counts in report.counts.items():
            images, low, middle, high = _spread(counts)
            table.add_row(part, f"{images:,}", f"{low:,}", f"{middle:,g}", f"{high:,}")
        out.print(table)
    for finding in report.findings:
        out.print(f"{finding.kind}: {finding.what}")
    for note in report.notes:
        out.print(f"note: {note}")
    opened = f"{count(report.opened, 'image')} opened" if report.opened else "no image opened"
    problems = count(len(report.findings), "problem") + " found" if report.findings else "no problems"
    out.print(f"{opened}, {problems}; recipes for it: {', '.join(recipes) or 'none'}")
