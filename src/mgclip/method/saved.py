"""A saved model is a folder: ``mgclip.json`` with classes, settings and the CLIP it needs, and beside it one folder with the
peft adapter and the head.

The JSON file names that folder, so a save becomes true in the one moment in which the JSON file is replaced. What else lies in
the model's folder is not touched.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from mgclip._version import __version__
from mgclip.clip.adapters import read_adapter_file
from mgclip.clip.backbone import Backbone
from mgclip.clip.load import EMBEDDED
from mgclip.errors import InputError
from mgclip.method.settings import Settings

FORMAT = 1
MANIFEST = "mgclip.json"
STATE = "mgclip-state-"
ADAPTER = Path("adapter") / "adapter_model.safetensors"
HEAD = "head.safetensors"


@dataclass(frozen=True)
class Learnt:
    """What a model has learned besides its adapter: ``head`` is ``(classes, d)``, ``epochs`` None while undecided."""

    settings: Settings
    epochs: int | None
    task_sizes: tuple[int, ...]
    class_names: tuple[str, ...]
    head: Tensor


@dataclass(frozen=True)
class Saved:
    """A saved model as read: what it learned, its adapter matrices by name, and the CLIP it was trained on."""

    learnt: Learnt
    adapter: dict[str, Tensor]
    reference: str
    fingerprint: str


def is_saved(reference: str | Path) -> bool:
    """Whether there is a saved model at ``reference``."""
    return (Path(reference) / MANIFEST).is_file()


def check_place(folder: Path) -> None:
    """See that a model can be saved at ``folder``, without writing anything.

    Raises ``InputError`` where something else stands in the way, or nothing may be written.
    """
    if folder.exists() and not is_saved(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not a saved model: give another folder, or empty this one.")
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder} cannot be written, because {there} does not allow it: give another folder.")


def save(folder: Path, backbone: Backbone, learnt: Learnt) -> None:
    """Write a model into ``folder``, in place of a model that is there. Interrupted or failed, the old one stays.

    Raises ``InputError`` as ``check_place`` does.
    """
    from safetensors.torch import save_file

    check_place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = Path(tempfile.mkdtemp(prefix=STATE, dir=folder))
    try:
        # Without the last word peft asks the hub whether the vocabulary has grown.
        backbone.peft_model.save_pretrained(state / "adapter", safe_serialization=True, save_embedding_layers=False)
        (state / "adapter" / "README.md").unlink(missing_ok=True)
        save_file({"weight": learnt.head.detach().cpu().contiguous()}, state / HEAD)
        for part in (state, *state.rglob("*")):
            part.chmod(0o755 if part.is_dir() else 0o644)
        manifest = {
            "format": FORMAT,
            "mgclip": __version__,
            "state": state.name,
            "base": {"reference": _lasting(backbone.reference), "fingerprint": backbone.fingerprint},
            "settings": learnt.settings.model_dump(exclude={"adapter_init"}),
            "epochs": learnt.epochs,
            "task_sizes": list(learnt.task_sizes),
            "class_names": list(learnt.class_names),
        }
        fresh = state / MANIFEST
        fresh.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        fresh.replace(folder / MANIFEST)
    except BaseException:
        shutil.rmtree(state, ignore_errors=True)
        raise
    for old in folder.glob(f"{STATE}*"):
        if old != state:
            shutil.rmtree(old, ignore_errors=True)


def _lasting(reference: str) -> str:
    """A reference that still holds from another working directory: a path is made absolute."""
    path = Path(reference).expanduser()
    return str(path.resolve()) if reference != EMBEDDED and path.exists() else reference


def read(folder: Path) -> Saved:
    """Read a saved model. Raises ``InputError`` where a file is missing or damaged, or its format is a newer one."""
    manifest = _read_manifest(folder / MANIFEST)
    try:
        settings = Settings(**manifest["settings"])
        reference, mark = str(manifest["base"]["reference"]), str(manifest["base"]["fingerprint"])
        state = folder / str(manifest["state"])
        if state.parent != folder or not state.name.startswith(STATE):
            raise ValueError(f"state {manifest['state']!r}")
        names, sizes, epochs = tuple(manifest["class_names"]), tuple(manifest["task_sizes"]), manifest["epochs"]
        if len(names) != sum(sizes) or len(set(names)) != len(names) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"{len(names)} class names for {sum(sizes)} classes")
        if epochs is not None and not isinstance(epochs, int):
            raise ValueError(f"epochs {epochs!r}")
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder / MANIFEST} is damaged ({reason}): restore the model from a copy.") from None
    head = _read_head(state / HEAD, rows=len(names))
    adapter = read_adapter_file(state / ADAPTER)
    return Saved(Learnt(settings, epochs, sizes, names, head), adapter, reference, mark)


def _read_manifest(file: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        number = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} cannot be read ({error}): restore the model from a copy.") from None
    if number != FORMAT:
        raise InputError(f"{file} has format {number}; this version reads format {FORMAT}: upgrade mg-clip.")
    return dict(manifest)


def _read_head(file: Path, *, rows: int) -> Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weight: Tensor = load_file(file)["weight"]
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"The head {file} cannot be read ({error}): restore the model from a copy.") from None
    if weight.ndim != 2 or weight.shape[0] != rows:
        raise InputError(f"{file} has shape {tuple(weight.shape)}; one row for each of {rows} classes is expected.")
    return weight
