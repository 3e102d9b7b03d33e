"""The files of a saved model: classes, settings and its CLIP in the manifest; peft adapter, head and memory next to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mgclip.clip.adapters import read_adapter_file
from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder
from mgclip.clip.load import load_backbone, load_base
from mgclip.clip.parallel import checked_device, local_device
from mgclip.disk import write_json
from mgclip.errors import InputError, first_line
from mgclip.home import in_home
from mgclip.method import stored_texts
from mgclip.method.analytic import solved_files
from mgclip.method.analytic.calibration import Calibration
from mgclip.method.analytic.solved_head import SolvedHead
from mgclip.method.compensation import cosines
from mgclip.method.replay import Memory
from mgclip.method.settings import Settings, as_settings
from mgclip.saving.store import (
    MANIFEST,
    RESTORE,
    Note,
    base_entry,
    check_base,
    damaged,
    is_saved,
    read_manifest,
    read_tensors,
    write_state,
)
from mgclip.saving.versions import Version, activate_version
from mgclip.words import count

ADAPTER = Path("adapter") / "adapter_model.safetensors"
HEAD = "head.safetensors"
SOLVED = "solved.safetensors"
MEMORY = "memory.safetensors"


@dataclass(frozen=True)
class ModelState:
    """What a model has learned besides its adapter; the fields are the attributes of ``MGCLIP``.

    A trained head is in ``head``, a solved one in ``solved``; then ``head`` has no row. ``counts`` are the images of each class
    if the rows of the head are class means, unless an earlier version saved them.
    """

    settings: Settings
    epochs: int | None
    task_sizes: tuple[int, ...]
    class_names: tuple[str, ...]
    class_texts: tuple[str, ...]
    head: Tensor
    memory: Memory | None = None
    solved: SolvedHead | None = None
    counts: Tensor | None = None

    def scores(self, features: Tensor) -> Tensor:
        """Scores ``(b, classes)`` of the head, as ``MGCLIP.head_scores`` gives them."""
        return cosines(features, self.head) if self.solved is None else self.solved.scores(features)

    @property
    def calibration(self) -> Calibration | None:
        """The weights of both branches, if the head is solved."""
        return None if self.solved is None else self.solved.calibration


@dataclass(frozen=True)
class LoadedModel:
    """A saved model: what it learned, its adapter matrices by name, the CLIP it was trained on, and the folder of its files."""

    state: ModelState
    adapter: dict[str, Tensor]
    reference: str
    fingerprint: str
    folder: Path


def save(
    folder: Path,
    encoder: Encoder,
    learned: ModelState,
    note: Note | None = None,
    files: Mapping[str, Any] | None = None,
    made_from: str = "",
) -> str:
    """Write a model that was ``made_from`` a saved state, as ``MGCLIP.save_pretrained`` does. Returns the name of its state."""
    from safetensors.torch import save_file

    backbone = encoder.backbone
    if note is not None:
        check_storable("note", note)
    check_storable("files", files or {})

    def fill(state: Path) -> None:
        # Without save_embedding_layers=False peft asks the hub for the size of the vocabulary.
        backbone.peft_model.save_pretrained(state / "adapter", safe_serialization=True, save_embedding_layers=False)
        if learned.solved is None:
            counts = {} if learned.counts is None else {"counts": learned.counts.cpu()}
            save_file({"weight": learned.head.detach().cpu().contiguous(), **counts}, state / HEAD)
        else:
            save_file(solved_files.tensors(learned.solved), state / SOLVED)
        if learned.memory is not None:
            save_file(learned.memory.tensors(), state / MEMORY)
        stored_texts.save(state, encoder, learned.class_texts)
        for name, content in (files or {}).items():
            write_json(state / name, content)

    manifest = {
        "base": base_entry(backbone),
        "settings": learned.settings.model_dump(exclude={"adapter_init"}),
        "epochs": learned.epochs,
        "task_sizes": list(learned.task_sizes),
        "class_names": list(learned.class_names),
        "class_texts": list(learned.class_texts),
    }
    if learned.solved is not None:
        manifest["solved"] = solved_files.entry(learned.solved)
    return write_state(folder, manifest, fill, note, made_from=made_from)


def check_storable(what: str, given: Any) -> None:
    """Check that ``given`` is a mapping whose keys are texts, and that JSON can store it. Raises ``InputError`` if not."""
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise InputError(f"{what} must be a mapping whose keys are texts, such as {{'what': 'learned march'}}; found {given!r}.")
    try:
        json.dumps(dict(given), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{what} must hold values that JSON can store: texts, numbers, lists and mappings ({first_line(error)}); convert the "
            "others."
        ) from None


def read(folder: Path) -> LoadedModel:
    """Read a saved model; if it is replaced while it is read, which may remove its files, read the new one.

    Raises:
        InputError: If a file is missing or damaged, or its format is newer.
    """
    while True:
        manifest, state = read_manifest(folder)
        try:
            return read_state(folder / MANIFEST, manifest, state)
        except InputError:
            if read_manifest(folder)[1] == state:
                raise


def read_state(file: Path, manifest: Mapping[str, Any], state: Path) -> LoadedModel:
    """Read one state of a saved model, active or not, from its manifest, whose ``file`` errors name.

    Raises:
        InputError: If a file is missing or damaged.
    """
    if "baseline" in manifest:
        raise InputError(
            f"{state.parent} holds the method {manifest['baseline']}, not an MGCLIP model: open it with `mgclip.load_learner` or "
            "`mgclip predict`."
        )
    has_solved = "solved" in manifest
    try:
        settings = Settings(**manifest["settings"])
        reference, fingerprint = str(manifest["base"]["reference"]), str(manifest["base"]["fingerprint"])
        names, sizes, epochs = tuple(manifest["class_names"]), tuple(manifest["task_sizes"]), manifest["epochs"]
        if len(names) != sum(sizes) or len(set(names)) != len(names) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"{count(len(names), 'class name')} for {count(sum(sizes), 'class', 'classes')}")
        texts = tuple(manifest.get("class_texts", names))
        if len(texts) != len(names) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{count(len(texts), 'class text')} for {count(len(names), 'class', 'classes')}")
        if epochs is not None and not isinstance(epochs, int):
            raise ValueError(f"epochs {epochs!r}")
        if (settings.compensation == "analytic") != has_solved and (names or has_solved):
            raise ValueError(f"compensation {settings.compensation!r} {'with' if has_solved else 'without'} a solved head")
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise damaged(file, first_line(error)) from None
    solved = _read_solved(file, manifest["solved"], state, settings, len(names)) if has_solved else None
    if solved is None:
        head, counts = _read_head(state / HEAD, rows=len(names))
    else:
        head, counts = torch.empty(0, solved.fourier.dim), None
    memory = Memory.of(read_tensors(state / MEMORY, "memory")) if settings.memory and names else None
    learned = ModelState(settings, epochs, sizes, names, texts, head, memory, solved, counts)
    return LoadedModel(learned, read_adapter_file(state / ADAPTER), reference, fingerprint, state)


def open_model(
    reference: str | Path,
    settings: Settings | Mapping[str, Any] | None,
    base: str | Path | Backbone | None,
    device: str | torch.device | None,
    runtime: Mapping[str, Any] | None,
) -> tuple[Backbone, Settings, LoadedModel | None]:
    """Load what ``MGCLIP.from_pretrained`` is given, with its checks.

    Returns:
        The CLIP, the settings, and the saved model unless a new one is made.
    """
    reference, base = in_home(reference), base if isinstance(base, Backbone | None) else in_home(base)
    device = local_device() if device is None else checked_device(device)
    if not isinstance(runtime, Mapping | None):
        raise InputError(f"runtime must be a mapping of settings; found {type(runtime).__name__}.")
    if not is_saved(reference):
        chosen = as_settings(settings).changed(runtime or {})
        if base is not None:
            raise InputError(f"There is no saved model at {reference}, so base={base} has no use: leave it out.")
        return _new_backbone(reference, device), chosen, None
    if settings is not None:
        raise InputError(f"{reference} is a saved model and keeps its own settings: leave settings out.")
    folder = Path(reference)
    found = read(folder)
    backbone = base if isinstance(base, Backbone) else load_base(folder, base or "", found.reference, device)
    check_base(folder, backbone, reference=found.reference, fingerprint=found.fingerprint)
    representation = "projected" if found.state.solved is None else found.state.solved.fourier.representation
    if (rows := found.state.head.shape[1]) != (width := backbone.image_dim(representation)):
        raise InputError(
            f"The head in {reference} has rows of length {rows}; this CLIP's features have length {width}: give the CLIP that it "
            "was trained on."
        )
    return backbone, found.state.settings.changed(runtime or {}), found


def _new_backbone(reference: str | Path, device: str | torch.device) -> Backbone:
    """The CLIP of a new model. An error also names saved models, because the reference may be meant as one."""
    try:
        return load_backbone(reference, device)
    except InputError as error:
        text = str(error).replace("There is no CLIP at", "There is neither a saved model nor a CLIP at", 1)
        raise InputError(text.replace(" is not a CLIP:", " is neither a saved model nor a CLIP:", 1)) from None


def undo(folder: str | Path, to: int | None = None) -> Version:
    """Activate the version before the active one of a saved model, or version ``to``, which may also be a later one.

    No version is deleted.

    Args:
        folder: Folder of the model.
        to: Number of the version to activate.

    Returns:
        The version that is active now.

    Raises:
        InputError: If there is no such version, or its files are missing or damaged.
    """
    return activate_version(folder, to, check=read_state)


def _read_solved(file: Path, about: Any, state: Path, settings: Settings, classes: int) -> SolvedHead:
    named = read_tensors(state / SOLVED, "solved head")
    try:
        return solved_files.restored(about, named, settings=settings, classes=classes)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(file, f"solved head: {first_line(error)}") from None


def _read_head(file: Path, *, rows: int) -> tuple[Tensor, Tensor | None]:
    """The rows of a trained head, and the images of each class if they were saved."""
    named = read_tensors(file, "head")
    weight, counts = named.get("weight"), named.get("counts")
    if weight is not None and not (weight.is_floating_point() and bool(weight.isfinite().all())):
        raise InputError(f"{file} contains NaN or infinite values: {RESTORE}")
    if weight is None or weight.ndim != 2 or weight.shape[0] != rows:
        found = None if weight is None else tuple(weight.shape)
        raise InputError(f"{file} has shape {found}; expected one row for each class, {rows} in all: {RESTORE}")
    if counts is not None and (counts.dtype != torch.long or counts.shape != (rows,) or bool((counts < 1).any())):
        raise InputError(f"{file} has wrong numbers of images: {RESTORE}")
    return weight.float(), counts
