"""``mgclip gap``: the modality gap of a CLIP on data, in numbers and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mgclip.experiment.gap_study import Study, Trace

ROWS = (
    ("positive", "similarity of an image and its class's text, cosine"),
    ("negative", "similarity of an image and other classes' texts, cosine"),
    ("centroid_distance", "distance of the mean image and the mean text"),
    ("image_cone", "cosine of two images (the cone)"),
    ("text_cone", "cosine of two class texts"),
    ("separability", "accuracy of a linear classifier that tells images from texts"),
    ("accuracy", "zero-shot accuracy"),
)


def gap_command(
    clip: Annotated[str, typer.Argument(help="A CLIP (hub id, folder, .pt file, iconclip), or a saved model.")],
    data: Annotated[str, typer.Argument(help="A data set's name, or a folder of class folders.")],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as rank=4.")
    ] = None,
    path: Annotated[str | None, typer.Option(help="Where the data set lies.")] = None,
    classes: Annotated[int, typer.Option(min=0, help="The first so many classes; 0: all.")] = 10,
    per_class: Annotated[int, typer.Option(min=1, help="Images of each class to look at.")] = 50,
    track: Annotated[
        bool,
        typer.Option("--track", help="Also fine-tune, once with cross-entropy and once with alignment, and watch."),
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of --track.")] = 10,
    points: Annotated[int, typer.Option(min=1, help="Measurements of --track.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Folder for numbers and pictures; default runs/gap-CLIP-DATA.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the result of --json.")] = False,
) -> None:
    """Measure the modality gap: similarities, centroids, cones, a modality classifier, a projection; and how tuning moves it."""
    from mgclip.app.display import one_process
    from mgclip.disk import write_json
    from mgclip.errors import InputError
    from mgclip.experiment.gap_study import Study, as_record, load_sample
    from mgclip.experiment.recipe import build_settings
    from mgclip.method.store import check_writable, is_saved

    one_process("gap")
    settings = build_settings(changes or [])
    if "epochs" in {change.partition("=")[0].strip() for change in changes or ()}:
        raise InputError("How long --track fine-tunes is given by --epochs, not by epochs=.")
    if is_saved(clip) and changes:
        raise InputError(f"{clip} is a saved model and keeps its settings: leave {changes[0]} out.")
    sample = load_sample(data, path, classes=classes, per_class=per_class, train=track)
    folder = out or Path("runs") / f"gap-{Path(clip).stem}-{Path(data).name}"
    check_writable(folder)

    from mgclip.app.display import RunDisplay
    from mgclip.method.learner import MGCLIP

    model = MGCLIP.from_pretrained(clip, settings=None if is_saved(clip) else settings)
    study = Study(model, sample)
    origin, traces = study.measure(), []
    folder.mkdir(parents=True, exist_ok=True)
    _picture(study, folder / "projection.svg", f"{data}: images and texts of {Path(clip).name}")
    if track:
        with RunDisplay(2, quiet=quiet) as display:
            for loss in ("cross-entropy", "align"):
                traces.append(study.track(loss, epochs=epochs, points=points, on_step=display.on_step))
                display.bars.update(display.whole, advance=1)
        _tracks(traces, folder, alpha=model.settings.alpha)
    record = as_record(origin, traces)
    write_json(folder / "gap.json", {"clip": clip, "data": data, "classes": list(sample.names), **record})
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **record}))
    elif not quiet:
        _print(record, folder)


def _picture(study: Study, file: Path, title: str) -> None:
    from mgclip.report.gap_figures import projection_figure

    images, texts = study.picture()
    projection_figure(images, texts, study.sample.shown.labels, file, title=title)


def _tracks(traces: list[Trace], folder: Path, *, alpha: float | None) -> None:
    from mgclip.report.gap_figures import LABELS, track_figure

    for quantity, label in LABELS.items():
        band = alpha if quantity == "negative" else None
        file = folder / f"{quantity.replace('_', '-')}.svg"
        track_figure(traces, file, quantity=quantity, title=label[0].upper() + label[1:], alpha=band)


def _print(record: dict[str, Any], folder: Path) -> None:
    from rich.table import Table

    from mgclip.app.display import out

    table = Table()
    table.add_column("what")
    table.add_column("before" if record["traces"] else "value", justify="right")
    for trace in record["traces"]:
        table.add_column(f"after {trace['loss']}", justify="right")
    for name, label in ROWS:
        points = [record["gap"], *(trace["points"][-1] for trace in record["traces"])]
        table.add_row(label, *("-" if point[name] is None else f"{point[name]:.4f}" for point in points))
    out.print(table)
    out.print(f"numbers and pictures: {folder}")
