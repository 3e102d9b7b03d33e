"""Rename, unite or remove classes of a saved model, as a new version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgclip.clip.adapters import adapters_have_effect
from mgclip.method.class_edits import check_forget, position_of
from mgclip.method.learner import MGCLIP
from mgclip.method.model_files import read
from mgclip.names import canonical, tidy
from mgclip.saving.lock import only_writer
from mgclip.saving.store import HELD_OUT, WAIT, check_state
from mgclip.saving.versions import check_saved, history
from mgclip.stream.folder import image_files
from mgclip.workflows.branches import leave_one_out
from mgclip.workflows.held_out import HeldOut, as_json, joined, read_held_out
from mgclip.workflows.predict import check_unknown


def relabel_class(folder: Path, old: str, new: str, *, text: str = "", base: str = "") -> bool:
    """Rename a class of a saved model, or unite it with a class that it knows by the new name.

    Args:
        folder: Folder of the model.
        old: The class.
        new: Its new name.
        text: The word for it in prompts. The default is the new name, or the word for the class with which it is united.
        base: Path of the model's CLIP, if it has moved.

    Returns:
        Whether two classes were united.

    Raises:
        InputError: If there is no such class, the new name is that of a class of a trained head, or it differs from the name of
            another class only in case, spaces, hyphens, underscores or the form of a letter.

    Example:
        >>> import mgclip, numpy as np
        >>> model = mgclip.MGCLIP.from_pretrained("iconclip", settings={"epochs": 0, "head_epochs": 0})
        >>> learned = model.learn(np.zeros((2, 32, 32, 3), np.uint8), ["cat", "dog"], ["cat", "dog"])
        >>> model.save_pretrained("pets", note={"what": "learned pets"})
        >>> relabel_class(Path("pets"), "dog", "puppy")
        False
        >>> forget_class(Path("pets"), "cat").versions
        [1, 2]
        >>> mgclip.MGCLIP.from_pretrained("pets").class_names
        ('puppy',)
    """
    with _opened(folder, base) as (model, held_out):
        classes, to = len(model.class_names), tidy(new)
        model.relabel(old, to, text or None)
        united = len(model.class_names) < classes
        parts = [{to if canonical(name) == canonical(old) else name: files} for name, files in held_out.items()]
        what = f"united {old} with {to}" if united else f"renamed {old} to {to}"
        _save(model, folder, what, joined(model.class_names, *parts))
    return united


def set_settings(folder: Path, given: Mapping[str, Any], *, base: str = "") -> list[str]:
    """Change settings of a saved model that need no training.

    Args:
        folder: Folder of the model.
        given: Settings by name.
        base: Path of the model's CLIP, if it has moved.

    Returns:
        What changed, such as ``branches: both -> image``; nothing is saved if nothing changed.

    Raises:
        InputError: If a setting needs training, does not exist, has no effect on this model, or has a wrong value.
    """
    with _opened(folder, base) as (model, held_out):
        before = model.settings
        model.change_settings(**given)
        if model.settings.unknown_below:
            check_unknown(model)
        pairs = [(key, _shown(getattr(before, key)), _shown(getattr(model.settings, key))) for key in given]
        different = [pair for pair in pairs if pair[1] != pair[2]]
        if different:
            _save(model, folder, f"set {', '.join(f'{key}={new}' for key, _, new in different)}", held_out)
    return [f"{key}: {old} -> {new}" for key, old, new in different]


def _shown(value: object) -> str:
    """A setting as it is written on the command line and in its documentation."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Forgotten:
    """What remains after a class was removed.

    Attributes:
        versions: The numbers of the other versions, which may still contain the class.
        adapted: Whether adapters were trained, which may have learned from its images.
        traces: Whether the scatter of its images remains in the sums of a solved head.
        replayed: Whether images of it were removed from the replay memory.
        images: The number of its images that were taken out of these sums, because they were given.
    """

    versions: list[int]
    adapted: bool
    traces: bool
    replayed: bool = False
    images: int = 0


def forget_class(folder: Path, name: str, *, images: Path | None = None, base: str = "") -> Forgotten:
    """Remove a class from a saved model.

    Args:
        folder: Folder of the model.
        name: The class.
        images: A folder with all images from which the class was learned; others in it are ignored. Then nothing of them remains
            in a solved head.
        base: Path of the model's CLIP, if it has moved.

    Raises:
        InputError: If there is no such class, or an image from which it was learned is missing in the folder.
    """
    check_saved(folder)
    if images is not None:
        check_forget(read(folder).state, name, with_images=True)  # before the images are looked for
    files = None if images is None else image_files(images)
    with _opened(folder, base) as (model, held_out):
        own = None if files is None else _learned_images(model, name, files)
        remembered, learned = len(model.memory or ()), 0 if model.solved is None else len(model.solved.learned)
        model.forget(name, images=own)
        left = {other: files for other, files in held_out.items() if canonical(other) != canonical(name)}
        _save(model, folder, f"forgot {name}", left)
    return Forgotten(
        versions=[version.number for version in history(folder) if not version.active],
        adapted=adapters_have_effect(model.backbone),
        traces=model.solved is not None and own is None,
        replayed=len(model.memory or ()) < remembered,
        images=0 if model.solved is None or own is None else learned - len(model.solved.learned),
    )


def _learned_images(model: MGCLIP, name: str, files: Sequence[Path]) -> list[Path]:
    """The files from which a class was learned; all of them if the model keeps no record of its images."""
    own = model.class_names[position_of(model.class_names, name)]
    if model.solved is None:
        return list(files)
    return [file for file, was in zip(files, model.learned_as(files), strict=True) if own in was]


@contextmanager
def _opened(folder: Path, base: str) -> Iterator[tuple[MGCLIP, HeldOut]]:
    """Lock the folder of a saved model, and yield the model and its held-out images."""
    check_saved(folder)
    with only_writer(folder, wait=WAIT):
        yield MGCLIP.from_pretrained(folder, base=base or None), read_held_out(folder)


def _save(model: MGCLIP, folder: Path, what: str, held_out: HeldOut) -> None:
    """Save an edited model as a new version; ``what`` was done."""
    note = {"what": what, "leave_one_out": leave_one_out(model)}
    check_state(folder, model.saved_as)
    model.save_pretrained(folder, note=note, files={HELD_OUT: as_json(held_out, folder)})
