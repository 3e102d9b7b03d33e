"""``mgclip gap``: the modality gap of a CLIP on data, in numbers and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgclip.app.options import Architecture, Changes, Json, Quiet, with_architecture
from mgclip.app.streams import print_json
from mgclip.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    study = {"clip": clip, "data": data, "path": path}
    folder = out or _default_folder(study, track=track)
    check_writable(folder)

    from mgclip.method.learner import MGCLIP
    from mgclip.report.file_figures import projection_figure

    model = MGCLIP.from_pretrained(clip, settings=None if is_saved(clip) else settings)
    measured = Study(model, sample)
    initial = measured.measure()
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{data}: images and texts of {Path(clip).name}"
    projection_figure(*measured.projection(), sample.test.labels, folder / "projection.svg", title=title)
    traces = _track(measured, folder, epochs, points, quiet=quiet) if track else []
    record = study_record(initial, traces)
    write_json(folder / "gap.json", {**study, "classes": list(sample.names), **record})
    if as_json:
        print_json({"folder": str(folder), **record})
    elif not quiet:
        _print(record, folder)


def _default_folder(study: Mapping[str, str | None], *, track: bool) -> Path:
    """The folder of a study without ``--out``: its name ends with those of the CLIP and the data.

    Raises:
        InputError: If it has the numbers of another CLIP or other data of the same name, or those of ``--track``, which would be
            lost.
    """
    from mgclip.untrusted import read_json

    folder = Path("runs") / f"gap-{Path(study['clip'] or '').stem}-{Path(study['data'] or '').name}"
    try:
        found = read_json(folder / "gap.json")
        other = any(found.get(key) != value for key, value in study.items())
        lost = bool(found["traces"]) and not track
    except (OSError, ValueError, KeyError, AttributeError):  # there is none, or it cannot be read
        return folder
    if other or lost:
        what = f"{found['clip']} on {found.get('path') or found['data']}" if other else "--track"
        raise InputError(f"{folder} has the numbers of {what}: give another folder with --out, or remove this one.")
    return folder


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
