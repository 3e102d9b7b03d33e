"""Rename or remove a class of a saved model, as a new version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mgclip.method.learner import MGCLIP
from mgclip.names import canonical
from mgclip.saving.lock import only_writer
from mgclip.saving.store import HELD_OUT, WAIT
from mgclip.saving.versions import check_saved, history
from mgclip.workflows.held_out import as_json, read_held_out

HeldOut = Mapping[str, Sequence[Path]]


def relabel_class(folder: Path, old: str, new: str, *, text: str = "", base: str = "") -> None:
    """Rename a class of a saved model, or unite it with the class of that name (``MGCLIP.relabel``).

    ``text`` is the word for it in prompts, by default the new name.

    Raises:
        InputError: If there is no such class, or the new name is taken and the head was trained.

    Example:
        >>> import mgclip, numpy as np
        >>> model = mgclip.MGCLIP.from_pretrained("iconclip", settings={"epochs": 0, "head_epochs": 0})
        >>> learned = model.learn(np.zeros((2, 32, 32, 3), np.uint8), ["cat", "dog"], ["cat", "dog"])
        >>> model.save_pretrained("pets", note={"what": "learned pets"})
        >>> relabel_class(Path("pets"), "dog", "puppy")
        >>> forget_class(Path("pets"), "cat")
        [1, 2]
        >>> mgclip.MGCLIP.from_pretrained("pets").class_names
        ('puppy',)
    """

    def rename(model: MGCLIP, held_out: HeldOut) -> HeldOut:
        model.relabel(old, new, text or None)
        own, renamed = (
            next(name for name in model.class_names if canonical(name) == canonical(new)),
            dict[str, list[Path]](),
        )
        for name, files in held_out.items():  # two classes that are united keep the held-out images of both
            renamed.setdefault(own if canonical(name) in (canonical(old), canonical(new)) else name, []).extend(files)
        return renamed

    _save_edited(folder, base, rename, f"called {old} {new}")


def forget_class(folder: Path, name: str, *, base: str = "") -> list[int]:
    """Remove a class from a saved model.

    Returns:
        The numbers of the other versions, which may still contain the class.

    Raises:
        InputError: If there is no such class.
    """

    def remove(model: MGCLIP, held_out: HeldOut) -> HeldOut:
        model.forget(name)
        return {other: files for other, files in held_out.items() if canonical(other) != canonical(name)}

    _save_edited(folder, base, remove, f"forgot {name}")
    return [version.number for version in history(folder) if not version.active]


def _save_edited(folder: Path, base: str, edit: Callable[[MGCLIP, HeldOut], HeldOut], what: str) -> None:
    """Load a model, edit it and its held-out images, and save a new version, with the folder locked."""
    check_saved(folder)
    with only_writer(folder, wait=WAIT):
        model = MGCLIP.from_pretrained(folder, base=base or None)
        held_out = edit(model, read_held_out(folder))
        model.save_pretrained(folder, note={"what": what}, files={HELD_OUT: as_json(held_out)})
