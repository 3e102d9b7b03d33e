"""``mgclip learn``: add a folder's classes to a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def learn_command(
    folder: Annotated[Path, typer.Argument(help="One folder of images for each class; or train/ and test/ of such.")],
    model: Annotated[Path, typer.Option(help="Folder of the model; created the first time.")],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of a new model, such as epochs=2.")
    ] = None,
    base: Annotated[str, typer.Option(help="CLIP a new model starts from, or where a saved model's CLIP is now.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the result of --json.")] = False,
) -> None:
    """Teach a model the classes of a folder, as its next task."""
    from mgclip.app.display import RunDisplay, one_process, out
    from mgclip.errors import InputError
    from mgclip.experiment.recipe import build_settings
    from mgclip.method.store import check_place, is_saved
    from mgclip.stream.folder import find_parts, read_classes

    one_process("learn")
    known = is_saved(model)
    if known and changes:
        raise InputError(f"{model} exists and keeps its settings: leave {changes[0]} out, or give a new folder.")
    check_place(model)
    settings = build_settings(changes or [])
    train, test = find_parts(folder)
    classes = read_classes(train)
    if empty := [name for name, files in classes.items() if not files]:
        raise InputError(f"The class {empty[0]!r} has no image in {train}: add one, or remove its folder.")
    tests = read_classes(test) if test else {}
    names = list(classes)
    images = [file for name in names for file in classes[name]]
    labels = [label for label, name in enumerate(names) for _ in classes[name]]

    from mgclip.method.learner import MGCLIP

    if known:
        learner = MGCLIP.from_pretrained(model, base=base or None)
    else:
        learner = MGCLIP.from_pretrained(base or "openai/clip-vit-base-patch16", settings=settings)
    with RunDisplay(1, quiet=quiet) as display:
        learned = learner.learn(images, labels, names, on_step=display.on_step)
    tests = {name: files for name, files in tests.items() if name in learner.class_names}
    predicted = iter(learner.predict([file for files in tests.values() for file in files]).names)
    hits = [next(predicted) == name for name, files in tests.items() for _ in files]
    learner.save_pretrained(model)
    done = {
        "model": str(model),
        "classes": names,
        "images": len(images),
        "epochs": learned.epochs,
        "classes_in_all": len(learner.class_names),
        "test_accuracy": sum(hits) / len(hits) if hits else None,
    }
    if as_json:
        typer.echo(json.dumps(done, ensure_ascii=False))
    elif not quiet:
        out.print(f"learned {len(names)} classes from {len(images)} images in {learned.epochs} epochs -> {model}")
        out.print(f"{model} knows {len(learner.class_names)} classes")
        if hits:
            out.print(f"accuracy on {test}: {100 * sum(hits) / len(hits):.1f} %")
