"""The versions of a model folder: list, activate and prune them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgclip.errors import InputError
from mgclip.home import in_home
from mgclip.missing import as_given
from mgclip.saving.lock import only_writer
from mgclip.saving.store import (
    MANIFEST,
    WAIT,
    Note,
    VersionEntry,
    activate,
    is_saved,
    known_versions,
    read_manifest,
    remove_states,
)


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes:
        number: Its number, from 1.
        parent: Number of the version it was made from.
        time: When it was saved (ISO, UTC).
        note: What was done.
        active: Whether it is the version that loading the folder gives.
    """

    number: int
    parent: int | None
    time: str
    note: Note
    active: bool

    in_force = property(lambda self: self.active, doc="Former name of ``active``.")


def shown(note: Note) -> dict[str, Any]:
    """A note without values that cannot be shown, because programs may write any."""
    kinds: dict[str, type] = {"what": str, "classes": list, "grown": list, "images": int, "epochs": int, "accuracy": dict}
    kept = {key: value for key, value in note.items() if isinstance(value, kinds.get(key, object))}
    accuracy = note["accuracy"] if "accuracy" in kept else {}
    return {**kept, "accuracy": {key: value for key, value in accuracy.items() if isinstance(value, float)}}


def describe(note: Mapping[str, Any], most: int = 4) -> str:
    """What a note says was done, with at most ``most`` of the classes."""
    readable = shown(note)
    what, names = readable.get("what", "saved"), [str(name) for name in readable.get("classes", [])]
    if len(grown := set(map(str, readable.get("grown", [])))) < len(names):  # otherwise nothing is new
        names = [name for name in names if name not in grown] + [f"{name} (known)" for name in names if name in grown]
    return f"{what}: {', '.join(names[:most])}{', ...' if len(names) > most else ''}" if names else str(what)


def history(folder: str | Path) -> list[Version]:
    """The versions of a saved model.

    Args:
        folder: Folder of the model.

    Returns:
        The versions, oldest first; none if it was saved without versions.

    Raises:
        InputError: If there is no saved model.

    Example:
        >>> from mgclip import MGCLIP, history, undo
        >>> model = MGCLIP.from_pretrained("iconclip")
        >>> for note in ({"what": "first"}, {"what": "second"}):
        ...     model.save_pretrained("shop", note=note)
        >>> [(version.number, version.note["what"], version.active) for version in history("shop")]
        [(1, 'first', False), (2, 'second', True)]
        >>> undo("shop").number
        1
    """
    folder = Path(in_home(folder))
    check_saved(folder)
    active = read_manifest(folder)[1].name
    return [Version(v.number, v.parent, v.time, v.note, v.state == active) for v in known_versions(folder)]


def lineage(folder: str | Path) -> list[Version]:
    """The versions that led to the active one, oldest first, and that one. Raises ``InputError`` if there is no saved model."""
    known = {version.number: version for version in history(folder)}
    version = next((each for each in known.values() if each.active), None)
    found: list[Version] = []
    while version is not None:
        found.insert(0, version)
        version = None if version.parent is None else known.get(version.parent)
    return found


def activate_version(folder: str | Path, to: int | None, *, check: Callable[[Path, Mapping[str, Any], Path], object]) -> Version:
    """Activate version ``to`` of a saved model, or the one before the active version if it is None. No version is deleted.

    Args:
        folder: Folder of the model.
        to: Number of the version.
        check: Reads the version, given the path of its manifest, the manifest and its folder; raises ``InputError`` if that
            cannot be done, and the active version then stays.

    Raises:
        InputError: If there is no such version, or its files are missing or damaged.
    """
    folder = Path(in_home(folder))
    check_saved(folder)
    with only_writer(folder, wait=WAIT):
        versions = known_versions(folder)
        found = _target(folder, versions, to)
        try:
            manifest, state = read_manifest(folder, found.state)
            check(state / MANIFEST, manifest, state)
        except InputError as error:
            raise InputError(f"Version {found.number} of {folder} is missing or damaged: {error}") from None
        activate(folder, manifest, versions)
    return next(version for version in history(folder) if version.active)


def _target(folder: Path, versions: Sequence[VersionEntry], to: int | None) -> VersionEntry:
    state = read_manifest(folder)[1].name
    active = next((version for version in versions if version.state == state), None)
    if active is None:
        raise InputError(f"{folder} keeps no versions: there is nothing to go back to.")
    wanted = active.parent if to is None else to
    found = next((version for version in versions if version.number == wanted), None)
    if found is None and wanted is None:
        raise InputError(f"Version {active.number} of {folder} is the first one: there is nothing before it.")
    if found is None and to is None:
        left = "choose with --to" if len(versions) > 1 else "no other is left to go back to"
        raise InputError(f"Version {wanted} of {folder}, from which {active.number} was made, was removed: {left}.")
    if found is None:
        numbers = ", ".join(str(version.number) for version in versions)
        raise InputError(f"{folder} has no version {to!r}: choose from {numbers}.")
    return found


def prune(folder: str | Path, keep: int) -> list[int]:
    """Permanently delete all versions but the latest ones and the active one.

    Args:
        folder: Folder of the model.
        keep: How many of the latest to keep.

    Returns:
        The numbers of the deleted versions.

    Raises:
        InputError: If there is no saved model, or the folder cannot be written.
    """
    folder = Path(in_home(folder))
    check_saved(folder)
    with only_writer(folder, wait=WAIT):
        manifest, active = read_manifest(folder)
        versions = known_versions(folder)
        latest = versions[max(0, len(versions) - keep) :]
        kept = [version for version in versions if version in latest or version.state == active.name]
        activate(folder, {k: v for k, v in manifest.items() if k != "versions"}, kept)
        remove_states(folder, keep={active.name, *(version.state for version in kept)})
    return [version.number for version in versions if version not in kept]


def check_saved(folder: Path) -> None:
    """Check that there is a saved model. Raises ``InputError`` if there is none."""
    if not is_saved(folder):
        raise InputError(
            f"{as_given(folder)} is not a saved model: expected a folder written by `mgclip learn` or `save_pretrained`."
        )
