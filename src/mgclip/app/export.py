"""``mgclip export``: a saved model for use without this package."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgclip.app.options import Base, Json, Quiet, SavedModel
from mgclip.app.signals import interrupted_by_sigterm
from mgclip.app.streams import print_json
from mgclip.errors import InputError
from mgclip.words import count

if TYPE_CHECKING:
    from mgclip.export.folder import Exported


@interrupted_by_sigterm()
def export_command(
    model: SavedModel,
    to: Annotated[Path, typer.Option(help="Folder to write; must be new or empty.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write model.onnx: images in, answers out.")] = False,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="With --onnx: images or folders on which the file with 8-bit weights is tested; default: generated images."
        ),
    ] = None,
    repo: Annotated[
        str | None,
        typer.Option("--push", metavar="REPO", help="Also upload the folder to the Hugging Face hub as REPO (user/name)."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository of --push private.")] = False,
    base: Base = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a plain CLIP folder that transformers can load, with head, classes and model card, and check it."""
    from mgclip.app.display import out, require_single_process
    from mgclip.app.image_arguments import given_files
    from mgclip.saving.versions import check_saved

    require_single_process("export")
    if private and repo is None:
        raise InputError("--private applies to --push only: add --push REPO, or leave --private out.")
    if images and not onnx:
        raise InputError("--images applies to --onnx only: add --onnx, or leave --images out.")
    files = list(given_files(images)[0]) if images else []
    check_saved(model)

    from mgclip.export.card import version_notes
    from mgclip.export.folder import export_folder
    from mgclip.export.new_folder import check_new
    from mgclip.export.onnx_file import check_onnx
    from mgclip.export.push import check_repo, push
    from mgclip.method.learner import MGCLIP
    from mgclip.workflows.predict import check_unknown

    check_new(to)
    if onnx:
        check_onnx()
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # the exporter warns about packages that are not needed
    if repo is not None:
        check_repo(repo)
    learner = MGCLIP.from_pretrained(model, base=base or None)
    if learner.settings.unknown_below:
        check_unknown(learner)
    exported, classes = export_folder(learner, to, onnx=onnx, images=files, notes=version_notes(model)), len(learner.class_names)
    if not quiet and not as_json:
        _print(to, exported, classes)
    address = push(to, repo, private) if repo is not None else None
    if as_json:
        result = {"folder": str(to), "files": exported.files, "sizes": exported.sizes, "classes": classes}
        deviations = {"deviation": exported.deviation, "onnx_deviation": exported.onnx_deviation}
        int8 = None if exported.int8 is None else vars(exported.int8)
        print_json({**result, **deviations, "int8": int8, "pushed_to": address})
    elif address is not None and not quiet:
        out.print(f"pushed to {address}")


def _print(to: Path, exported: Exported, classes: int) -> None:
    from mgclip.app.display import out
    from mgclip.export.folder import INT8
    from mgclip.export.int8 import FASTER, SAME

    out.print(f"wrote {to}, {count(sum(exported.sizes.values()), 'byte')}:")
    for name, size in exported.sizes.items():
        out.print(f"  {name}: {count(size, 'byte')}")
    known = count(classes, "class", "classes")
    out.print(f"{known}; largest deviation of the CLIP's features: {exported.deviation:.1e}")
    if exported.onnx_deviation is not None:
        out.print(f"largest deviation of model.onnx, run with onnxruntime: {exported.onnx_deviation:.1e}")
    if (found := exported.int8) is not None:
        needed = f" (it must be at least {FASTER} times as fast and give at least {100 * SAME:g} % of the answers)"
        kept = "Kept" if found.kept else "Not kept"
        out.print(f"{found.sentence} {kept}: {INT8}{'' if found.kept or found.failed else needed}")
