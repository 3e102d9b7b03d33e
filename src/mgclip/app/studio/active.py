"""The model of a folder, which always is its active version: read again whenever another version becomes active."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from mgclip.errors import InputError, MGCLIPError
from mgclip.method.learner import MGCLIP
from mgclip.method.methods import settings_of_new_model
from mgclip.saving.lock import only_writer
from mgclip.saving.store import is_saved, known_versions, read_manifest
from mgclip.workflows.taught_model import DEFAULT_CLIP


@dataclass(frozen=True)
class Class:
    """A learned class: its name, and the number of images it was learned from, which a trained head does not keep."""

    name: str
    images: int | None


@dataclass(frozen=True)
class About:
    """What is always in view.

    Attributes:
        state: The name of the files of the active version, empty if nothing is saved.
        folder: The folder of the model.
        base: The CLIP.
        version: The number of the active version, or None if nothing is saved.
        classes: The learned classes.
        solved: Whether the head is a solved one, so that answers can be corrected and classes united.
    """

    state: str
    folder: Path
    base: str
    version: int | None
    classes: tuple[Class, ...]
    solved: bool

    @property
    def names(self) -> list[str]:
        """The names of the classes."""
        return [each.name for each in self.classes]


class ActiveModel:
    """The model of a folder, shared by the threads of the studio: one thread at a time uses the model.

    Args:
        folder: The folder of the model, which may not exist yet.
        base: The CLIP that a new model starts from, or the path of a saved model's CLIP if it has moved; ``""`` for the default
            one, or the one that the model names.
    """

    def __init__(self, folder: Path, *, base: str = "") -> None:
        self.folder, self.base = folder, base
        self._lock = Lock()
        self._model: MGCLIP | None = None
        self._state = ""
        self._about: About | None = None

    def _active(self) -> str:
        """The files of the active version; empty if nothing was saved yet. Raises ``MGCLIPError`` if they are gone."""
        if is_saved(self.folder):
            return read_manifest(self.folder)[1].name
        if self._state:  # a new model in its place would start from another CLIP
            raise MGCLIPError(f"There is no model in {self.folder} any more: put it back, or start the studio again.")
        return ""

    def _load(self) -> MGCLIP:
        """The model of the active version; a new one if nothing is saved. The lock must be held."""
        state = self._active()
        if self._model is None or state != self._state:
            if state:
                self._model = MGCLIP.from_pretrained(self.folder, base=self.base or None)
            else:
                self._model = MGCLIP.from_pretrained(self.base or DEFAULT_CLIP, settings=settings_of_new_model("", {}))
            self._state = state
        return self._model

    def _ready(self) -> MGCLIP:
        """The model, which must know a class."""
        model = self._load()
        if not model.class_names:
            raise InputError("The model knows no class yet: teach it some first.")
        return model

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Lock the folder; afterwards load the active version again, because the model may be changed without being saved."""
        with only_writer(self.folder):
            try:
                yield
            finally:
                self._model = None

    def about(self) -> About:
        """Return what is always in view, at once if it is known of the active version: another thread may be learning."""
        about = self._about
        if about is not None and about.state == self._active():
            return about
        with self._lock:
            self._load()
            return self._loaded()

    def _loaded(self) -> About:
        """What is in view of the loaded version, although another program may have saved one since. The lock must be held."""
        model = self._load() if self._model is None else self._model
        if self._about is None or self._about.state != self._state:
            counts = [None] * len(model.class_names) if model.solved is None else model.solved.sums.counts.long().tolist()
            self._about = About(
                self._state,
                self.folder,
                model.backbone.reference,
                next((version.number for version in known_versions(self.folder) if version.state == self._state), None),
                tuple(Class(*each) for each in zip(model.class_names, counts, strict=True)),
                model.settings.compensation == "analytic",
            )
        return self._about
