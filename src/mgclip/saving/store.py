"""A folder that holds one state in force: a JSON manifest, and beside it the folder with the files it names.

Saving becomes true in the one moment in which the manifest is replaced; interrupted or failed, the state before stays in force.
States that were saved as versions (``saving/versions.py``) are kept; others make room for the next one. What else lies in the
folder is not touched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from mgclip._version import __version__
from mgclip.clip.backbone import Backbone
from mgclip.clip.load import EMBEDDED
from mgclip.disk import to_disk, write_json
from mgclip.errors import InputError
from mgclip.saving.lock import LOCK, only_writer
from mgclip.untrusted import read_json

FORMAT = 1
MANIFEST = "mgclip.json"
STATE = "mgclip-state-"
PROGRESS = ".mgclip-progress-"
HELD_OUT = "held-out.json"
"""Which images were held out of training, where that is known."""
WAIT = 60.0
"""Seconds that saving waits for another process to finish writing."""


def expanded(path: str | Path) -> str | Path:
    """A path with ``~`` replaced by the home folder; a hub id stays unchanged."""
    return Path(path).expanduser() if str(path).startswith("~") else path


def is_saved(reference: str | Path) -> bool:
    """Whether there is a saved model at ``reference``."""
    return (Path(reference) / MANIFEST).is_file()


def check_place(folder: Path) -> None:
    """See that a model can be saved at ``folder``, without writing anything.

    Raises ``InputError`` where something else stands in the way, or nothing may be written.
    """
    if folder.exists() and not is_saved(folder) and (not folder.is_dir() or any(map(_foreign, folder.iterdir()))):
        raise InputError(f"{folder} exists and is not a saved model: give another folder, or empty this one.")
    check_writable(folder)


def _foreign(entry: Path) -> bool:
    """Whether something in a folder is not what an interrupted first save left there."""
    return not entry.name.startswith((STATE, LOCK, PROGRESS, f".{MANIFEST}"))


def check_writable(folder: Path) -> None:
    """See that a folder can be made, or written into, without writing anything. Raises ``InputError`` where it cannot."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder} cannot be written, because {there} does not allow it: give another folder.")


def write_state(
    folder: Path, manifest: Mapping[str, Any], fill: Callable[[Path], None], note: Mapping[str, Any] | None = None
) -> None:
    """Put a new state in force: ``fill`` writes its files into an empty folder, ``manifest`` describes it.

    With a ``note``, or where versions are kept already, it becomes a version of its own, and the one in force stays beside it.
    One process writes at a time. Raises ``InputError`` as ``check_place`` does, and where another process keeps writing.
    """
    check_place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder, wait=WAIT):
        versions = known_versions(folder) or ([] if note is None else _first_version(folder))
        state = Path(tempfile.mkdtemp(prefix=STATE, dir=folder))
        if note is not None or versions:
            versions = [*versions, next_version(folder, versions, state.name, note or {"what": "saved"})]
        try:
            fill(state)
            for part in (state, *state.rglob("*")):
                part.chmod(0o755 if part.is_dir() else 0o644)
                to_disk(part)
            whole = {"format": FORMAT, "mgclip": __version__, "state": state.name, **manifest}
            write_json(state / MANIFEST, whole)
            activate(folder, whole, versions)
        except BaseException:
            if not is_saved(folder) or read_manifest(folder)[1] != state:  # an interruption may come right after
                shutil.rmtree(state, ignore_errors=True)
            raise
        remove_states(folder, keep={state.name, *(version["state"] for version in versions)})


def activate(folder: Path, manifest: Mapping[str, Any], versions: Sequence[Mapping[str, Any]]) -> None:
    """Make a state whose files are written the one in force."""
    kept = {"versions": list(versions)} if versions else {}
    write_json(folder / MANIFEST, {**manifest, **kept})


def remove_states(folder: Path, keep: Collection[str]) -> None:
    """Remove all states but these, those that an interruption left behind among them."""
    for old in folder.glob(f"{STATE}*"):
        if old.name not in keep:
            shutil.rmtree(old, ignore_errors=True)


def _own_state(name: object) -> bool:
    """Whether this is the name of a folder of states inside the model's own."""
    return isinstance(name, str) and name.startswith(STATE) and Path(name).name == name


def known_versions(folder: Path) -> list[dict[str, Any]]:
    """The versions a folder keeps, oldest first: ``number``, ``parent``, ``state``, ``time`` and ``note`` of each. None where
    the state in force was saved without one.
    """
    if not is_saved(folder):
        return []
    versions = read_manifest(folder)[0].get("versions", [])
    try:
        checked = _VERSIONS.validate_python(versions)
    except ValidationError as error:
        problem = error.errors()[0]
        raise damaged(folder / MANIFEST, f"versions: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    numbers = [version.number for version in checked]
    if numbers != sorted(set(numbers)) or not all(_own_state(version.state) for version in checked):
        raise damaged(folder / MANIFEST, "versions that are not in their order, or not its own")
    return list(versions)


class _Version(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    number: int
    parent: int | None = None
    state: str
    time: str
    note: dict[str, Any]

    @model_validator(mode="after")
    def _parent_is_earlier(self) -> _Version:
        if self.parent is not None and self.parent >= self.number:
            raise ValueError(f"its parent {self.parent} is no earlier one")
        return self


_VERSIONS = TypeAdapter(list[_Version])


def _first_version(folder: Path) -> list[dict[str, Any]]:
    """Make the state in force, saved without versions, the first of them."""
    if not is_saved(folder):
        return []
    manifest, state = read_manifest(folder)
    write_json(state / MANIFEST, manifest)
    return [next_version(folder, [], state.name, {"what": "saved"})]


def next_version(
    folder: Path, versions: Sequence[Mapping[str, Any]], state: str, note: Mapping[str, Any]
) -> dict[str, Any]:
    """The entry of a new version after those there are."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    force = read_manifest(folder)[1].name if versions else None
    parent = next((version["number"] for version in versions if version["state"] == force), None)
    number = 1 + max((version["number"] for version in versions), default=0)
    return {"number": number, "parent": parent, "state": state, "time": now, "note": dict(note)}


def read_manifest(folder: Path, version: str | None = None) -> tuple[dict[str, Any], Path]:
    """The manifest of the state in force, or of the ``version`` kept as a state of that name, and the folder of its files.

    Raises ``InputError`` where it cannot be read, its format is a newer one, or it names a folder that is not its own.
    """
    file = (folder if version is None else folder / version) / MANIFEST
    try:
        manifest = dict(read_json(file))
        number = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} cannot be read ({error}): restore the model from a copy.") from None
    if number != FORMAT:
        raise InputError(f"{file} has format {number}; this version reads format {FORMAT}: upgrade mg-clip.")
    state = folder / str(manifest.get("state"))
    if not _own_state(manifest.get("state")) or state.is_symlink() or version not in (None, state.name):
        raise damaged(file, f"state {manifest.get('state')!r}")
    return manifest, state


def damaged(file: Path, reason: object) -> InputError:
    """The error of a manifest whose content cannot be."""
    return InputError(f"{file} is damaged ({str(reason).splitlines()[0]}): restore the model from a copy.")


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
