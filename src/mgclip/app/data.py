"""``mgclip data``: the data sets there are, and whether one on disk is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mgclip.app.paths import with_home

if TYPE_CHECKING:
    from mgclip.stream.check import DatasetReport
    from mgclip.stream.datasets import DatasetEntry

app = typer.Typer(help="List the data sets, or check one that you have.", no_args_is_help=True)


@app.command("list")
@with_home
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """List the data sets: classes, images, where they come from and how they lie on disk."""
    from mgclip.stream.datasets import DATASETS

    if as_json:
        from mgclip.app.streams import print_json

        print_json({name: _facts_of(which) for name, which in DATASETS.items()})
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mgclip.app.display import out

    table = Table(box=SIMPLE_HEAD)
    table.add_column("data set", no_wrap=True)
    for column in ("classes", "train", "test"):
        table.add_column(column, justify="right")
    table.add_column("what it is")
    for name, which in DATASETS.items():
        images = ("-" if part.images is None else f"{part.images:,}" for part in (which.train, which.test))
        table.add_row(name, f"{which.classes or '-'}", *images, which.about)
    out.print(table)
    for name, which in DATASETS.items():
        out.print(name)
        if which.hub:
            out.print(f"  hub     {which.hub.id}{', accept its terms there first' if which.hub.gated else ''}")
        out.print(f"  from    {which.source}")
        out.print(f"  layout  {which.layout}")


def _facts_of(which: DatasetEntry) -> dict[str, Any]:
    return {
        "about": which.about,
        "classes": which.classes,
        "train_images": which.train.images,
        "test_images": which.test.images,
        "test_only": which.test_only,
        "hub": which.hub.id if which.hub else None,
        "source": which.source,
        "layout": which.layout,
    }


@app.command("check")
@with_home
def check_command(
    name: Annotated[str, typer.Argument(help="A data set's name:  mgclip data list  shows them.")],
    path: Annotated[str | None, typer.Argument(help="Where it lies; left out: the hub, or the icons' fonts.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Count only; open no image.")] = False,
    test_only: Annotated[bool, typer.Option("--test-only", help="Leave the train part out.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all of it as JSON, each class with its counts.")
    ] = False,
) -> None:
    """Check that a data set is whole: every class, every image readable, counts as published."""
    from mgclip.app.display import opening_images
    from mgclip.app.streams import print_json
    from mgclip.stream.check import check_dataset

    with opening_images(quiet=as_json) as on_images:
        report = check_dataset(name, path, quick=quick, test_only=test_only, on_images=on_images)
    recipes = _recipes_for(name)
    if as_json:
        print_json(_as_json(report, recipes))
    else:
        _show(report, recipes)
    if report.findings:
        raise typer.Exit(1)


def _recipes_for(name: str) -> list[str]:
    from mgclip.experiment.recipe import load_recipe, shipped_recipes

    return [recipe for recipe in shipped_recipes() if load_recipe(recipe).data == name]


def _spread(counts: list[int]) -> tuple[int, int, float, int]:
    """Images in all, and the fewest, the median and the most of a class."""
    from statistics import median

    return (sum(counts), min(counts), median(counts), max(counts)) if counts else (0, 0, 0, 0)


def _as_json(report: DatasetReport, recipes: list[str]) -> dict[str, Any]:
    parts = {}
    for part, counts in report.counts.items():
        images, low, middle, high = _spread(counts)
        parts[part] = {"images": images, "min": low, "median": middle, "max": high}
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
        "findings": [{"kind": finding.kind, "what": finding.what} for finding in report.findings],
        "notes": list(report.notes),
        "recipes": recipes,
        "ok": not report.findings,
    }


def _show(report: DatasetReport, recipes: list[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mgclip.app.display import out

    if report.counts:
        title = f"{report.data} in {report.path}: {len(report.class_names)} classes"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        table.add_column("part")
        for column in ("images", "min / class", "median", "max"):
            table.add_column(column, justify="right")
        for part, counts in report.counts.items():
            images, low, middle, high = _spread(counts)
            table.add_row(part, f"{images:,}", f"{low:,}", f"{middle:,g}", f"{high:,}")
        out.print(table)
    for finding in report.findings:
        out.print(f"{finding.kind}: {finding.what}")
    for note in report.notes:
        out.print(f"note: {note}")
    opened = f"{report.opened:,} images opened" if report.opened else "no image opened"
    found = f"{len(report.findings)} found wrong" if report.findings else "nothing wrong"
    out.print(f"{opened}, {found}; recipes for it: {', '.join(recipes) or 'none'}")
