"""``mgclip predict``: class and probability of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def predict_command(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    top: Annotated[int, typer.Option(min=1, help="Show so many classes for each image.")] = 1,
    base: Annotated[str, typer.Option(help="Where the model's CLIP is now, if it has moved.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each image.")] = False,
) -> None:
    """Classify images among all classes a model has learned."""
    from mgclip.errors import InputError
    from mgclip.stream.folder import image_files

    files: list[Path] = []
    for place in images:
        found = image_files(place) if place.is_dir() else [place]
        if not found:
            raise InputError(f"{place} holds no image file.")
        files += found
    if missing := [file for file in files if not file.is_file()]:
        raise InputError(f"There is no image file {missing[0]}.")

    from mgclip.method.learner import MGCLIP
    from mgclip.method.store import is_saved

    if not is_saved(model):
        raise InputError(
            f"{model} is not a saved model: expected a folder written by  mgclip learn  or save_pretrained."
        )
    predictions = MGCLIP.from_pretrained(model, base=base or None).predict(files)
    for file, best in zip(files, predictions.top(top), strict=True):
        if as_json:
            classes = [{"class": name, "probability": probability} for name, probability in best]
            typer.echo(json.dumps({"image": str(file), **classes[0], "top": classes}, ensure_ascii=False))
        else:
            typer.echo(f"{file}\t" + "\t".join(f"{name} {probability:.4f}" for name, probability in best))
