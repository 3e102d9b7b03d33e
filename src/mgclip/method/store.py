"""A folder that holds one state at a time: a JSON manifest, and beside it the folder with the files it names.

Saving becomes true in the one moment in which the manifest is replaced; interrupted or failed, the state before stays in force.
What else lies in the folder is not touched.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mgclip._version import __version__
from mgclip.clip.backbone import Backbone
from mgclip.clip.load import EMBEDDED
from mgclip.errors import InputError

FORMAT = 1
MANIFEST = "mgclip.json"
STATE = "mgclip-state-"


def is_saved(reference: str | Path) -> bool:
    """Whether there is a saved model at ``reference``."""
    return (Path(reference) / MANIFEST).is_file()


def check_place(folder: Path) -> None:
    """See that a model can be saved at ``folder``, without writing anything.

    Raises ``InputError`` where something else stands in the way, or nothing may be written.
    """
    if folder.exists() and not is_saved(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not a saved model: give another folder, or empty this one.")
    check_writable(folder)


def check_writable(folder: Path) -> None:
    """See that a folder can be made, or written into, without writing anything. Raises ``InputError`` where it cannot."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder} cannot be written, because {there} does not allow it: give another folder.")


def write_state(folder: Path, manifest: Mapping[str, Any], fill: Callable[[Path], None]) -> None:
    """Put a new state in force: ``fill`` writes its files into an empty folder, ``manifest`` describes it.

    Raises ``InputError`` as ``check_place`` does.
    """
    check_place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = Path(tempfile.mkdtemp(prefix=STATE, dir=folder))
    try:
        fill(state)
        for part in (state, *state.rglob("*")):
            part.chmod(0o755 if part.is_dir() else 0o644)
        whole = {"format": FORMAT, "mgclip": __version__, "state": state.name, **manifest}
        fresh = state / MANIFEST
        fresh.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        fresh.replace(folder / MANIFEST)
    except BaseException:
        shutil.rmtree(state, ignore_errors=True)
        raise
    for old in folder.glob(f"{STATE}*"):
        if old != state:
            shutil.rmtree(old, ignore_errors=True)


def read_manifest(folder: Path) -> tuple[dict[str, Any], Path]:
    """The manifest of the state in force, and the folder of its files.

    Raises ``InputError`` where it cannot be read, its format is a newer one, or it names a folder that is not its own.
    """
    file = folder / MANIFEST
    try:
        manifest = dict(json.loads(file.read_text(encoding="utf-8")))
        number = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} cannot be read ({error}): restore the model from a copy.") from None
    if number != FORMAT:
        raise InputError(f"{file} has format {number}; this version reads format {FORMAT}: upgrade mg-clip.")
    state = folder / str(manifest.get("state"))
    if state.parent != folder or not state.name.startswith(STATE):
        raise damaged(folder, f"state {manifest.get('state')!r}")
    return manifest, state


def damaged(folder: Path, reason: object) -> InputError:
    """The error of a manifest whose content cannot be."""
    return InputError(f"{folder / MANIFEST} is damaged ({str(reason).splitlines()[0]}): restore the model from a copy.")


def base_entry(backbone: Backbone) -> dict[str, str]:
    """How a manifest names the CLIP a model was trained on; a path is made absolute, so that it holds from anywhere."""
    reference, path = backbone.reference, Path(backbone.reference).expanduser()
    lasting = str(path.resolve()) if reference != EMBEDDED and path.exists() else reference
    return {"reference": lasting, "fingerprint": backbone.fingerprint}


def check_base(folder: Path, backbone: Backbone, *, reference: str, fingerprint: str) -> None:
    """See that a backbone is the one a model was trained on. Raises ``InputError`` where it is another."""
    if backbone.fingerprint != fingerprint:
        raise InputError(
            f"{folder} was trained on the CLIP {reference} (fingerprint {fingerprint[:8]}); "
            f"{backbone.reference} is another one ({backbone.fingerprint[:8]}): give the one it was trained on."
        )


def read_tensors(file: Path, what: str) -> dict[str, Any]:
    """Named tensors of a safetensors file. Raises ``InputError`` where it is missing or damaged.

    They are copies: in the file they lie where they fit, and arithmetic on unaligned memory rounds differently.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: tensor.clone() for name, tensor in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"The {what} {file} cannot be read ({error}): restore the model from a copy.") from None
