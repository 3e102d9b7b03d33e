"""A model folder: a JSON manifest, and next to it one folder of files for each saved state.

A save takes effect atomically, when the manifest is replaced. If it is interrupted or fails, the previous state stays active.
States saved as versions (``saving/versions.py``) are kept; others are removed by the next save. Other files in the folder are
not touched.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from mgclip._version import __version__
from mgclip.disk import flush_to_disk, give_usual_permissions, write_json
from mgclip.errors import InputError, MGCLIPError, first_line
from mgclip.home import in_home
from mgclip.saving.lock import LOCK, only_writer
from mgclip.saving.writable import check_writable
from mgclip.system_errors import check_opens, is_system_error
from mgclip.untrusted import read_json
from mgclip.validation import problems

if TYPE_CHECKING:  # versions are listed without waiting for PyTorch
    from torch import Tensor

    from mgclip.clip.backbone import Backbone

FORMAT = 2
"""The format that is written. Format 1 has no solved head; it is still read."""
MANIFEST = "mgclip.json"
STATE = "mgclip-state-"
PROGRESS = ".mgclip-progress-"
HELD_OUT = "held-out.json"
"""Names the images that were held out of training, if any were."""
WAIT = 60.0
"""Seconds that a save waits for another process to finish writing."""

RESTORE = "restore the model from a backup, or train it again."
"""The end of a sentence about a damaged file."""

Note = Mapping[str, Any]
"""A note on a version. ``mgclip learn`` writes what, classes, images, epochs and accuracy; other programs write anything."""


class VersionEntry(BaseModel):
    """A ``Version`` (``saving/versions.py``) in the manifest; ``state`` is the name of the folder of its files."""

    model_config = ConfigDict(extra="allow", strict=True)

    number: int
    parent: int | None = None
    state: str
    time: str
    note: dict[str, Any]

    @model_validator(mode="after")
    def _parent_is_earlier(self) -> VersionEntry:
        if self.parent is not None and self.parent >= self.number:
            raise ValueError(f"its parent {self.parent} is not an earlier version")
        return self


_VERSIONS = TypeAdapter(list[VersionEntry])


def is_saved(reference: str | Path) -> bool:
    """Whether there is a saved model at ``reference``."""
    return (Path(reference) / MANIFEST).is_file()


def check_place(folder: Path) -> None:
    """Check, without writing, that a model can be saved at ``folder``. Raises ``InputError`` if it cannot."""
    if folder.exists() and not is_saved(folder) and (not folder.is_dir() or any(map(_foreign, folder.iterdir()))):
        raise InputError(f"{folder} exists and is not a saved model: give another folder, or empty this one.")
    check_writable(folder)


def _foreign(entry: Path) -> bool:
    """Whether something in a folder was not left there by an interrupted first save."""
    return not entry.name.startswith((STATE, LOCK, PROGRESS, f".{MANIFEST}"))


def write_state(
    folder: Path, manifest: Mapping[str, Any], fill: Callable[[Path], None], note: Note | None = None, *, made_from: str = ""
) -> str:
    """Save a new state and make it the active one.

    Args:
        folder: The model folder.
        manifest: Describes the state.
        fill: Writes its files into an empty folder.
        note: Saves it as a version with this note. If the folder has versions already, it is a version in any case.
        made_from: The state that was loaded and changed. If it is no version of the folder, a new version was made from the
            active one.

    Returns:
        The name of the new state.

    Raises:
        InputError: If the folder cannot take a model, or if another process does not stop writing into it.
    """
    check_place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder, wait=WAIT):
        versions = known_versions(folder) or ([] if note is None else _first_version(folder))
        state = Path(tempfile.mkdtemp(prefix=STATE, dir=folder))
        if note is not None or versions:
            versions = [*versions, next_version(folder, versions, state.name, note or {"what": "saved"}, made_from)]
        try:
            fill(state)
            give_usual_permissions(state)
            for part in (state, *state.rglob("*")):
                flush_to_disk(part)
            complete = {"format": FORMAT, "mgclip": __version__, "state": state.name, **manifest}
            write_json(state / MANIFEST, complete)
            activate(folder, complete, versions)
        except BaseException:
            if not is_saved(folder) or read_manifest(folder)[1] != state:  # an interruption may come right after
                shutil.rmtree(state, ignore_errors=True)
            raise
        remove_states(folder, keep={state.name, *(version.state for version in versions)})
    return state.name


def activate(folder: Path, manifest: Mapping[str, Any], versions: Sequence[VersionEntry]) -> None:
    """Make a state, whose files are written, the active one.

    Args:
        folder: The folder of the model.
        manifest: What the model is; it names the state.
        versions: All versions of the model, active or not; empty if it keeps none.
    """
    kept = {"versions": [version.model_dump(exclude_unset=True) for version in versions]} if versions else {}
    write_json(folder / MANIFEST, {**manifest, **kept})


def remove_states(folder: Path, keep: Collection[str]) -> None:
    """Remove all states but these, including those that an interrupted save left behind."""
    for old in folder.glob(f"{STATE}*"):
        if old.name not in keep:
            shutil.rmtree(old, ignore_errors=True)


def _own_state(name: object) -> bool:
    """Whether this is the name of a state inside the model folder, and not a path to elsewhere."""
    return isinstance(name, str) and name.startswith(STATE) and Path(name).name == name


def known_versions(folder: Path) -> list[VersionEntry]:
    """The versions of a model folder, oldest first; none if its model was saved without versions."""
    if not is_saved(folder):
        return []
    try:
        versions = _VERSIONS.validate_python(read_manifest(folder)[0].get("versions", []))
    except ValidationError as error:
        raise damaged(folder / MANIFEST, f"versions: {problems(error)[0]}") from None
    numbers = [version.number for version in versions]
    if numbers != sorted(set(numbers)) or not all(_own_state(version.state) for version in versions):
        raise damaged(folder / MANIFEST, "versions that are out of order, or in other folders")
    return versions


def _first_version(folder: Path) -> list[VersionEntry]:
    """Make the active state, which was saved without versions, the first version."""
    if not is_saved(folder):
        return []
    manifest, state = read_manifest(folder)
    write_json(state / MANIFEST, manifest)
    return [next_version(folder, [], state.name, {"what": "saved"})]


def next_version(folder: Path, versions: Sequence[VersionEntry], state: str, note: Note, made_from: str = "") -> VersionEntry:
    """The entry of a new version, made from the version with the state ``made_from``, or else from the active one."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    number_of = {version.state: version.number for version in versions}
    parent = number_of.get(made_from, number_of.get(read_manifest(folder)[1].name)) if versions else None
    number = 1 + max((version.number for version in versions), default=0)
    return VersionEntry(number=number, parent=parent, state=state, time=now, note=dict(note))


def read_manifest(folder: Path, version: str | None = None) -> tuple[dict[str, Any], Path]:
    """Read the manifest of the active state, or of another one.

    Args:
        folder: The model folder.
        version: The name of the other state.

    Returns:
        The manifest, and the folder of the files.

    Raises:
        InputError: If it is missing or damaged, its format is newer, or it names a folder elsewhere.
        OSError: If the machine cannot read it.
    """
    file = (folder if version is None else folder / version) / MANIFEST
    try:
        manifest = dict(read_json(file))
        number = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if is_system_error(error):
            raise
        raise InputError(f"{file} cannot be read ({first_line(error)}): {RESTORE}") from None
    if number not in range(1, FORMAT + 1):
        raise InputError(f"{file} has format {number}; this version reads formats up to {FORMAT}: upgrade mg-clip.")
    state = folder / str(manifest.get("state"))
    if not _own_state(manifest.get("state")) or state.is_symlink() or version not in (None, state.name):
        raise damaged(file, f"state {manifest.get('state')!r}")
    return manifest, state


def active_state(folder: Path) -> str:
    """The name of the active state of a model folder; empty if there is no saved model."""
    return read_manifest(folder)[1].name if is_saved(folder) else ""


def check_state(folder: Path, before: str) -> None:
    """Check that a model folder has the active state that it had ``before``: one that was moved or replaced while a command
    changed its model must not get its next version in another folder. Raises ``MGCLIPError`` if it has another.
    """
    if active_state(folder) != before:
        raise MGCLIPError(
            f"{folder} was moved, removed or replaced during the command, which has saved no version: "
            "move it back and run the command again."
        )


def damaged(file: Path, reason: str) -> InputError:
    """The error of a manifest whose content cannot be right."""
    return InputError(f"{file} is damaged ({reason}): {RESTORE}")


def base_entry(backbone: Backbone) -> dict[str, str]:
    """How a manifest names the CLIP of a model. A path is made absolute, so that it works from any folder."""
    from mgclip.clip.load import EMBEDDED
    from mgclip.clip.openclip_models import split_reference

    reference, architecture = split_reference(backbone.reference)
    path = Path(in_home(reference))
    lasting = str(path.resolve()) if reference != EMBEDDED and path.exists() else reference
    return {"reference": f"{lasting}:{architecture}" if architecture else lasting, "fingerprint": backbone.fingerprint}


def check_base(folder: Path, backbone: Backbone, *, reference: str, fingerprint: str) -> None:
    """Check that a CLIP is the one on which a model was trained. Raises ``InputError`` if it is not."""
    if backbone.fingerprint != fingerprint:
        raise InputError(
            f"{folder} was trained on the CLIP {reference} (fingerprint {fingerprint[:8]}); "
            f"{backbone.reference} is a different CLIP ({backbone.fingerprint[:8]}): give the right one with --base (base= in "
            "Python)."
        )


def read_tensors(file: Path, what: str) -> dict[str, Tensor]:
    """The named tensors of a safetensors file. Raises ``InputError`` if it is missing or damaged, and what the machine raises if
    it cannot read it.

    They are copies, because the file does not align them, and arithmetic on unaligned memory rounds differently.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_opens(file)
        return {name: tensor.clone() for name, tensor in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        if is_system_error(error):
            raise
        raise InputError(f"The {what} {file} cannot be read ({first_line(error)}): {RESTORE}") from None
