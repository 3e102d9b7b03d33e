"""The versions a model folder keeps: what each one was, back to one of them, and fewer of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgclip.errors import InputError
from mgclip.saving.lock import only_writer
from mgclip.saving.store import (
    MANIFEST,
    WAIT,
    activate,
    check_writable,
    is_saved,
    known_versions,
    read_manifest,
    remove_states,
)


@dataclass(frozen=True)
class Version:
    """One version: its ``number`` and that of the version it was made from, when (ISO, UTC), what was done, and whether it is the
    one in force.
    """

    number: int
    parent: int | None
    time: str
    note: Mapping[str, Any]
    active: bool


def shown(note: Mapping[str, Any]) -> dict[str, Any]:
    """A note without what cannot be shown: programs may write any, and ``mgclip learn`` writes these kinds."""
    kinds: dict[str, type] = {"what": str, "classes": list, "images": int, "epochs": int, "accuracy": dict}
    kept: dict[str, Any] = {key: value for key, value in note.items() if isinstance(value, kinds.get(key, object))}
    accuracy = kept.get("accuracy", {})
    return {**kept, "accuracy": {key: value for key, value in accuracy.items() if isinstance(value, float)}}


def describe(note: Mapping[str, Any], most: int = 4) -> str:
    """What a note says was done, with at most ``most`` of the classes."""
    readable = shown(note)
    what, names = readable.get("what", "saved"), [str(name) for name in readable.get("classes", [])]
    return f"{what}: {', '.join(names[:most])}{', ...' if len(names) > most else ''}" if names else str(what)


def history(folder: str | Path) -> list[Version]:
    """All versions of a saved model, oldest first; empty where it was saved without versions.

    Raises ``InputError`` where there is no saved model.
    """
    folder = Path(folder)
    check_saved(folder)
    force = read_manifest(folder)[1].name
    return [
        Version(v["number"], v.get("parent"), v["time"], v["note"], v["state"] == force) for v in known_versions(folder)
    ]


def activate_version(
    folder: str | Path, to: int | None, *, check: Callable[[Path, Mapping[str, Any], Path], object]
) -> Version:
    """Activate version ``to`` of a saved model, or the one before the active version if it is None. No version is deleted.

    Args:
        folder: Folder of the model.
        to: Number of the version.
        check: Reads the version, given the path of its manifest, the manifest and its folder; raises ``InputError`` if that
            cannot be done, and the active version then stays.

    Raises:
        InputError: If there is no such version, or its files are missing or damaged.
    """
    folder = Path(folder)
    check_saved(folder)
    check_writable(folder)
    with only_writer(folder, wait=WAIT):
        versions = known_versions(folder)
        found = _target(folder, versions, to)
        try:
            manifest, state = read_manifest(folder, found["state"])
            check(state / MANIFEST, manifest, state)
        except InputError as error:
            raise InputError(f"Version {found['number']} of {folder} is missing or damaged: {error}") from None
        activate(folder, manifest, versions)
    return next(version for version in history(folder) if version.active)


def _target(folder: Path, versions: Sequence[dict[str, Any]], to: int | None) -> dict[str, Any]:
    force = read_manifest(folder)[1].name
    now = next((version for version in versions if version["state"] == force), None)
    if now is None:
        raise InputError(f"{folder} keeps no versions: there is nothing to go back to.")
    wanted = now.get("parent") if to is None else to
    found = next((version for version in versions if version["number"] == wanted), None)
    if found is None and wanted is None:
        raise InputError(f"Version {now['number']} of {folder} is the first one: there is nothing before it.")
    if found is None and to is None:
        raise InputError(
            f"Version {wanted} of {folder}, from which {now['number']} was made, was removed: choose with --to."
        )
    if found is None:
        numbers = ", ".join(str(version["number"]) for version in versions)
        raise InputError(f"{folder} has no version {to}: there are {numbers}.")
    return found


def prune(folder: str | Path, keep: int) -> list[int]:
    """Remove all but the ``keep`` latest versions and the one in force, for good; the numbers of those removed."""
    folder = Path(folder)
    check_saved(folder)
    check_writable(folder)
    with only_writer(folder, wait=WAIT):
        manifest, force = read_manifest(folder)
        versions = known_versions(folder)
        latest = versions[max(0, len(versions) - keep) :]
        kept = [version for version in versions if version in latest or version["state"] == force.name]
        activate(folder, {k: v for k, v in manifest.items() if k != "versions"}, kept)
        remove_states(folder, keep={force.name, *(version["state"] for version in kept)})
    return [version["number"] for version in versions if version not in kept]


def check_saved(folder: Path) -> None:
    """See that there is a saved model. Raises ``InputError`` where there is none."""
    if not is_saved(folder):
        raise InputError(
            f"{folder} is not a saved model: expected a folder written by  mgclip learn  or save_pretrained."
        )
