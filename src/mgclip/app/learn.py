"""``mgclip learn``: add a folder's classes to a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mgclip.method.settings import Settings


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
    from mgclip.app.display import RunDisplay, out
    from mgclip.errors import InputError
    from mgclip.stream.folder import TEST_NAMES, read_classes

    known = model.exists()
    if known and changes:
        raise InputError(f"{model} exists and keeps its settings: leave {changes[0]} out, or give a new folder.")
    split = (folder / "train").is_dir()
    classes = read_classes(folder / "train" if split else folder)
    test_folder = next((folder / name for name in TEST_NAMES if split and (folder / name).is_dir()), None)
    if empty := [name for name, files in classes.items() if not files]:
        raise InputError(f"The class {empty[0]!r} has no image in {folder}: add one, or remove its folder.")
    names = list(classes)
    images = [file for name in names for file in classes[name]]
    labels = [label for label, name in enumerate(names) for _ in classes[name]]

    from mgclip.method.learner import MGCLIP
    from mgclip.method.saved import is_saved

    if known and not is_saved(model):
        raise InputError(f"{model} exists and is not a saved model: give another folder for --model.")
    if known:
        learner = MGCLIP.from_pretrained(model, base=base or None)
    else:
        learner = MGCLIP.from_pretrained(base or "openai/clip-vit-base-patch16", settings=_settings(changes or []))
    with RunDisplay(1, quiet=quiet) as display:
        learned = learner.learn(images, labels, names, on_step=display.on_step)
    learner.save_pretrained(model)
    done: dict[str, Any] = {
        "model": str(model), "classes": names, "images": len(images), "epochs": learned.epochs,
        "classes_in_all": len(learner.class_names), "test_accuracy": None,
    }  # fmt: skip
    if test_folder is not None:
        tests = {name: files for name, files in read_classes(test_folder).items() if name in classes and files}
        predicted = iter(learner.predict([file for files in tests.values() for file in files]).names)
        hits = [next(predicted) == name for name, files in tests.items() for _ in files]
        done["test_accuracy"] = sum(hits) / len(hits) if hits else None
    if as_json:
        typer.echo(json.dumps(done, ensure_ascii=False))
    elif not quiet:
        out.print(f"learned {len(names)} classes from {len(images)} images in {learned.epochs} epochs -> {model}")
        out.print(f"{model} knows {len(learner.class_names)} classes")
        if isinstance(done["test_accuracy"], float):
            out.print(f"accuracy on {test_folder}: {100 * done['test_accuracy']:.1f} %")


def _settings(changes: list[str]) -> Settings:
    """Settings of a new model from ``key=value`` words, checked as a recipe's are."""
    from mgclip.experiment.recipe import build_recipe, parse_change

    return build_recipe({"name": "learn", **dict(map(parse_change, changes))}, source="settings").settings()
