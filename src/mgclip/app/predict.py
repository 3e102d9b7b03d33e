"""``mgclip predict``: class and confidence of images."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from mgclip.workflows.predict import Answer


def predict_command(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    images: Annotated[
        list[str], typer.Argument(help="Image files, folders of them, or - for a list on standard input.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Show so many classes for each image.")] = 1,
    unknown: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Answer 'unknown' where an image is less like any class than this; evaluate suggests it.",
        ),
    ] = 0.0,
    also: Annotated[str, typer.Option(help='More classes, by their text alone: "a zebra,a lion".')] = "",
    branches: Annotated[
        bool, typer.Option("--branches", help="Also show what texts and head say by themselves.")
    ] = False,
    base: Annotated[str, typer.Option(help="Where the model's CLIP is now, if it has moved.")] = "",
    on_bad_image: Annotated[
        Literal["error", "skip"], typer.Option(help="What to do about a file that cannot be read.")
    ] = "error",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each image.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: one line for each image and class.")] = False,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Images at a time; 1 answers a list on standard input line by line.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Classify images among all classes a model has learned."""
    from mgclip.app.display import screen, with_progress_bar
    from mgclip.app.stdin_list import listed_files
    from mgclip.app.streams import print_json
    from mgclip.errors import InputError, one_line
    from mgclip.saving.versions import check_saved

    if as_json and as_csv:
        raise InputError("Give --json or --csv, not both.")
    files, total = (listed_files(images), None) if "-" in images else _files(images)
    check_saved(model)
    candidates = [text.strip() for text in also.split(",")] if also else []

    from mgclip.clip.parallel import is_main
    from mgclip.method.learner import MGCLIP
    from mgclip.workflows.predict import UNKNOWN, predict_files

    if not is_main():  # one process answers: predicting is not shared
        return
    skipped: list[Path] = []

    def skip(file: Path, reason: str) -> None:
        skipped.append(file)
        screen.print(f"skipped: {file} ({reason})")

    answers = predict_files(
        MGCLIP.from_pretrained(model, base=base or None),
        files,
        top=top,
        also=candidates,
        threshold=unknown,
        on_bad=skip if on_bad_image == "skip" else None,
        batch=batch,
    )
    write = csv.writer(sys.stdout)
    if as_csv:
        write.writerow(
            ["image", "rank", "class", "probability", "confidence", "likeness", *(["text", "image_cosine"] * branches)]
        )
    for answer in with_progress_bar(answers, total, quiet=quiet):
        name = UNKNOWN if answer.name is None else answer.name
        if as_json:
            print_json(_as_json(answer, name, branches=branches))
        elif as_csv:
            for rank, row in enumerate(answer.best, start=1):
                named = name if rank == 1 else row["class"]
                more = [row["text"], row["image"]] if branches else []
                write.writerow(
                    [answer.file, rank, named, row["probability"], row["confidence"], answer.likeness, *more]
                )
        else:
            shown = str(answer.file)
            cells = [
                one_line(shown) if sys.stdout.isatty() else shown,
                *map(one_line, _cells(answer, name, branches=branches)),
            ]
            print("\t".join(cells), flush=True)
    if skipped and not quiet:
        screen.print(f"{len(skipped)} files were skipped")


def _files(places: Sequence[str]) -> tuple[Iterator[Path], int]:
    """Image files of files and folders, and how many these are.

    Raises ``InputError`` for a place that is not there or a folder without an image.
    """
    from mgclip.errors import InputError
    from mgclip.stream.folder import image_files

    files: list[Path] = []
    for place in map(Path, places):
        found = image_files(place) if place.is_dir() else [place]
        if not found:
            raise InputError(f"{place} holds no image file.")
        files += found
    if missing := [file for file in files if not file.is_file()]:
        raise InputError(f"There is no image file {missing[0]}.")
    return iter(files), len(files)


def _as_json(answer: Answer, name: str, *, branches: bool) -> dict[str, object]:
    rows = [
        {key: value for key, value in row.items() if branches or key not in ("text", "image")} for row in answer.best
    ]
    first = {
        "class": name,
        "probability": rows[0]["probability"],
        "confidence": answer.confidence,
        "likeness": answer.likeness,
    }
    return {"image": str(answer.file), **first, "top": rows}


def _cells(answer: Answer, name: str, *, branches: bool) -> Iterator[str]:
    for rank, row in enumerate(answer.best):
        cell = f"{name if rank == 0 else row['class']} {row['confidence']:.4f}"
        if branches:
            cell += f" (text {row['text']:.4f}, image {'-' if row['image'] is None else format(row['image'], '.4f')})"
        yield cell
