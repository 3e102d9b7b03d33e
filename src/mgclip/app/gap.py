"""``mgclip gap``: the modality gap of a CLIP on data, in numbers and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgclip.app.options import Architecture, Changes, Json, Quiet, with_architecture
from mgclip.app.streams import print_json
from mgclip.errors import InputError

if TYPE_CHECKING:
    from mgclip.experiment.gap_study import Loss, Study, StudyRecord, StudyTrace

EPOCHS, POINTS = 10, 20
"""How ``--track`` trains and measures by default."""


def gap_command(
    clip: Annotated[str, typer.Argument(help="A CLIP (hub id, folder, checkpoint file, iconclip), or a saved model.")],
    data: Annotated[str, typer.Argument(help="A data set's name, or a folder of class folders.")],
    changes: Changes = None,
    arch: Architecture = "",
    path: Annotated[str | None, typer.Option(help="Path of the data set.")] = None,
    classes: Annotated[int, typer.Option(min=0, help="Use the first N classes; 0 for all.")] = 10,
    per_class: Annotated[int, typer.Option(min=1, help="Test images per class.")] = 50,
    track: Annotated[bool, typer.Option("--track", help="Also fine-tune with both losses and track every measure.")] = False,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of --track.")] = EPOCHS,
    points: Annotated[int, typer.Option(min=1, help="Approximate number of measurements of --track.")] = POINTS,
    out: Annotated[Path | None, typer.Option(help="Folder of the numbers and figures; default: runs/gap-CLIP-DATA.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the modality gap: similarities, centroids, cones, a modality classifier, a projection; track it in training."""
    from mgclip.app.display import require_single_process
    from mgclip.disk import write_json
    from mgclip.experiment.gap_study import Study, load_sample, study_record
    from mgclip.experiment.recipe import build_settings
    from mgclip.saving.store import is_saved
    from mgclip.saving.writable import check_writable

    require_single_process("gap")
    for option, given in (("--epochs", epochs != EPOCHS), ("--points", points != POINTS)):
        if given and not track:
            raise InputError(f"{option} applies to --track only: add --track, or leave {option} out.")
    clip = with_architecture(clip, arch)
    settings = build_settings(changes or [])
    if "epochs" in {change.partition("=")[0].strip() for change in changes or ()}:
        raise InputError("--epochs sets the epochs of --track: use it instead of epochs=.")
    if is_saved(clip) and changes:
        raise InputError(f"{clip} is a saved model and keeps its settings: leave {changes[0]} out.")
    sample = load_sample(data, path, classes=classes, per_class=per_class, train=track)
    folder = out or Path("runs") / f"gap-{Path(clip).stem}-{Path(data).name}"
    check_writable(folder)

    from mgclip.method.learner import MGCLIP
    from mgclip.report.file_figures import projection_figure

    model = MGCLIP.from_pretrained(clip, settings=None if is_saved(clip) else settings)
    study = Study(model, sample)
    initial = study.measure()
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{data}: images and texts of {Path(clip).name}"
    projection_figure(*study.projection(), sample.test.labels, folder / "projection.svg", title=title)
    traces = _track(study, folder, epochs, points, quiet=quiet) if track else []
    record = study_record(initial, traces)
    write_json(folder / "gap.json", {"clip": clip, "data": data, "classes": list(sample.names), **record})
    if as_json:
        print_json({"folder": str(folder), **record})
    elif not quiet:
        _print(record, folder)


def _track(study: Study, folder: Path, epochs: int, points: int, *, quiet: bool) -> list[StudyTrace]:
    """Fine-tune with both losses and draw every quantity."""
    from mgclip.app.display import RunDisplay
    from mgclip.experiment.gap_study import QUANTITIES
    from mgclip.report.file_figures import track_figure

    traces: list[StudyTrace] = []
    losses: tuple[Loss, ...] = ("cross-entropy", "align")
    with RunDisplay(len(losses), quiet=quiet) as display:
        for loss in losses:
            traces.append(study.track(loss, epochs=epochs, points=points, on_step=display.on_step))
            display.advance()
    for quantity, label in QUANTITIES.items():
        band = study.model.settings.alpha if quantity == "negative" else None
        file = folder / f"{quantity.replace('_', '-')}.svg"
        track_figure(traces, file, quantity=quantity, title=label[0].upper() + label[1:], alpha=band)
    return traces


def _print(record: StudyRecord, folder: Path) -> None:
    from mgclip.app.display import make_table, out
    from mgclip.experiment.gap_study import LOGITS, QUANTITIES

    after = [f"after {trace['loss']}" for trace in record["traces"]]
    table = make_table("measure", "before" if after else "value", *after)
    for name, label in QUANTITIES.items():
        values = [record["gap"][name], *(trace["points"][-1][name] for trace in record["traces"])]
        unit = ", cosine" if name in LOGITS else ""
        table.add_row(label + unit, *("-" if value is None else f"{value:.4f}" for value in values))
    out.print(table)
    out.print(f"numbers and figures: {folder}")
