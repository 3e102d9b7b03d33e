"""``mgclip predict``: the class of each image, and the confidence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgclip.app.options import Base, OnBadImage, SavedModel

if TYPE_CHECKING:
    from mgclip.method.baselines.make import Learner
    from mgclip.workflows.answers import Answer

UnknownBelow = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Answer 'unknown' if the likeness is below this threshold; `evaluate` suggests one. 0: never. "
        "Default: what `mgclip set MODEL unknown_below=...` stored, or 0.",
    ),
]
Candidates = Annotated[str, typer.Option(help='Extra candidate classes, recognised by their text only: "a zebra,a lion".')]


def predict_command(
    model: SavedModel,
    images: Annotated[list[str], typer.Argument(help="Image files, folders of them, or - for a list on standard input.")],
    top: Annotated[int, typer.Option(min=1, help="Show the N most probable classes of each image.")] = 1,
    unknown_below: UnknownBelow = None,
    candidates: Candidates = "",
    branches: Annotated[
        bool, typer.Option("--branches", help="Also show the scores of the text branch and of the head.")
    ] = False,
    base: Base = "",
    on_bad_image: OnBadImage = "error",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per image.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with one line per image and class.")] = False,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Images per batch; 1 answers a list on standard input line by line.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Classify images among all classes that a model has learned."""
    from mgclip.app.display import screen, with_progress_bar
    from mgclip.app.image_arguments import given_files
    from mgclip.errors import InputError
    from mgclip.saving.versions import check_saved
    from mgclip.words import count

    if as_json and as_csv:
        raise InputError("Give --json or --csv, not both.")
    files, total = given_files(images)
    check_saved(model)

    from mgclip.clip.parallel import is_main
    from mgclip.workflows.predict import predict_files, split_candidates

    if not is_main():
        screen.print("`mgclip predict` runs in one process, the one with RANK=0; to run it in this one, unset WORLD_SIZE.")
        return
    skipped: list[Path] = []

    def skip(file: Path, reason: str) -> None:
        skipped.append(file)
        screen.print(f"skipped: {file} ({reason})")

    learner = _opened(model, base, warn=not candidates and not quiet)
    learner.backbone.expect(total or 0, batch=batch or learner.settings.encode_batch_size)
    answers = predict_files(
        learner,
        files,
        top=top,
        candidates=split_candidates(candidates),
        threshold=unknown_below,
        on_bad=skip if on_bad_image == "skip" else None,
        batch=batch,
    )
    show = _writer("json" if as_json else "csv" if as_csv else "text", branches=branches)
    for answer in with_progress_bar(answers, total, quiet=quiet):
        show(answer)
    if skipped and not quiet:
        screen.print(f"skipped {count(len(skipped), 'file')}")


def _opened(model: Path, base: str, *, warn: bool) -> Learner:
    """Load a model; with ``warn``, say what the confidence of a model of one class means."""
    from mgclip.app.display import screen
    from mgclip.method.baselines.make import load_learner
    from mgclip.workflows.advice import ONE_CLASS

    learner = load_learner(model, base=base or None)
    if warn and len(learner.class_names) == 1:
        screen.print(ONE_CLASS)
    return learner


def _writer(form: str, *, branches: bool) -> Callable[[Answer], None]:
    """A function that prints an answer as JSON, as CSV (whose header is printed now) or as a line of text."""
    from mgclip.app.streams import print_json, writing
    from mgclip.errors import one_line
    from mgclip.workflows.answers import BRANCHES, COLUMNS

    if form == "json":
        return lambda answer: print_json(answer.as_json(branches=branches))
    if form == "csv":
        from mgclip.csv_text import csv_text

        def print_rows(rows: Sequence[Sequence[object]]) -> None:
            with writing(sys.stdout):
                sys.stdout.write(csv_text(rows))
                sys.stdout.flush()  # a closed pipe ends the command here; when the interpreter exits, it causes a message

        print_rows([[*COLUMNS, *(BRANCHES if branches else ())]])
        return lambda answer: print_rows(answer.as_table(branches=branches))

    def print_line(answer: Answer) -> None:
        file = one_line(str(answer.file)) if sys.stdout.isatty() else str(answer.file)
        with writing(sys.stdout):
            print("\t".join([file, *map(one_line, answer.as_words(branches=branches))]), flush=True)

    return print_line
