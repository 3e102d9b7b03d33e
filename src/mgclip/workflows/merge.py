"""Merge two saved models into a new one, and start a model that can be merged with another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from mgclip.clip.adapters import adapter_state, set_adapter_state
from mgclip.errors import InputError
from mgclip.method.class_edits import solved_head_of
from mgclip.method.learner import MGCLIP
from mgclip.method.model_files import read
from mgclip.method.settings import Settings
from mgclip.names import ALIKE, loose_form, not_among
from mgclip.saving.lock import only_writer
from mgclip.saving.store import HELD_OUT, WAIT, check_place, is_saved
from mgclip.saving.versions import check_saved, lineage
from mgclip.words import count
from mgclip.workflows.branches import leave_one_out
from mgclip.workflows.held_out import as_json, is_there, joined, not_learned, read_held_out

AND = " and "
"""What joins several precisions in a note."""


class MergeReport(TypedDict):
    """The merged model: its classes, its images, and the images that both models had learned, which count twice. Also the
    precisions in which the images of both were encoded, if they differ.
    """

    model: str
    classes: int
    images: int
    shared: int
    precisions: NotRequired[list[str]]


def new_model_like(folder: Path, *, base: str | None = None, runtime: Mapping[str, Any] | None = None) -> MGCLIP:
    """A new model with the CLIP, settings, random features and adapters of a saved one, so that both can be merged.

    Raises:
        InputError: If there is no such model, or its head is a trained one.
    """
    check_saved(folder)
    first = MGCLIP.from_pretrained(folder, base=base, runtime=runtime)
    if first.solved is None:
        raise InputError(f"{folder} has no solved head, and only such models can be merged: leave --like out.")
    adapters = adapter_state(first.backbone)
    fourier = first.solved.fourier
    fixed = {"representation": fourier.representation, "gamma": fourier.gamma}
    never = {"adapt": "never"}  # other adapters would give other features
    model = MGCLIP(first.backbone, Settings(**{**first.settings.model_dump(), **fixed, **never}))
    set_adapter_state(model.backbone, adapters)
    model.solved = first.solved.emptied()  # with a bank if the first one has one
    return model


def merge_models(first: Path, second: Path, to: Path, *, base: str = "") -> MergeReport:
    """Add two saved models of one CLIP, and save the sum as a new model.

    Args:
        first: A saved model, whose texts are used for classes that both have.
        second: Another one.
        to: Folder of the new model.
        base: Path of their CLIP, if it has moved.

    Raises:
        InputError: If the models cannot be added, or ``to`` exists.
    """
    for folder in (first, second):
        check_saved(folder)
        solved_head_of(read(folder).state, "merge")
    if first.resolve() == second.resolve():
        raise InputError(f"{first} and {second} are the same model: give two.")
    _check_new(to)
    check_place(to)
    model, other = (MGCLIP.from_pretrained(folder, base=base or None) for folder in (first, second))
    _check_names(first, model.class_names, second, other.class_names)
    encoded = [_encoded_in(folder, own) for folder, own in ((first, model), (second, other))]
    assert model.solved is not None
    assert other.solved is not None
    shared = len(set(model.solved.learned.marks.tolist()) & set(other.solved.learned.marks.tolist()))
    model.merge(other)
    held_out = joined(model.class_names, read_held_out(first), read_held_out(second))
    # The other model may have learned what one held out.
    held_out = not_learned(model, {name: list(filter(is_there, images)) for name, images in held_out.items()})
    what = f"merged {first.name} and {second.name}"
    report: MergeReport = {
        "model": str(to),
        "classes": len(model.class_names),
        "images": len(model.solved.learned),
        "shared": shared,
    }
    if all(encoded) and encoded[0] != encoded[1]:
        report["precisions"] = list(map(AND.join, encoded))
    with only_writer(to, wait=WAIT):
        _check_new(to)  # another process may have created it meanwhile
        note = {
            "what": what,
            "classes": list(model.class_names),
            "images": report["images"],
            "leave_one_out": leave_one_out(model),
        }
        if all(encoded):
            note["precision"] = AND.join(sorted({*encoded[0], *encoded[1]}))
        model.save_pretrained(to, note=note, files={HELD_OUT: as_json(held_out, to)})
    return report


def _encoded_in(folder: Path, model: MGCLIP) -> list[str]:
    """The precisions in which the images of a model were encoded: those in the notes of its versions, otherwise its setting;
    none if that is ``auto``, which does not say what was chosen.
    """
    noted = {each for version in lineage(folder) for each in str(version.note.get("precision", "")).split(AND)} - {""}
    return sorted(noted or {model.settings.precision} - {"auto"})


def _check_new(folder: Path) -> None:
    if is_saved(folder):
        raise InputError(f"{folder} exists already: give a new folder for the merged model.")


def _check_names(first: Path, names: Sequence[str], second: Path, others: Sequence[str]) -> None:
    """Check that no class has one spelling in the first model and another in the second: it would become two classes."""
    only_first = {loose_form(name): name for name in not_among(names, others)}
    for name in not_among(others, names):
        if (own := only_first.get(loose_form(name))) is not None:
            raise InputError(
                f"The class {name!a} of {second} is probably the same as {own!a} of {first} ({ALIKE}): rename one of them with "
                "`mgclip relabel`."
            )


def describe_merge(report: MergeReport) -> list[str]:
    """What was merged, in sentences."""
    lines = [f"{report['model']} knows {count(report['classes'], 'class', 'classes')} from {count(report['images'], 'image')}"]
    if report["shared"]:
        lines.append(f"learned by both models, so counted twice: {count(report['shared'], 'image')}")
    if "precisions" in report:
        one, two = report["precisions"]
        lines.append(f"images of the first model were encoded in {one}, those of the second in {two}, which round differently")
    return lines
