"""What the studio does, without its page: one model folder, read again whenever another version is in force."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from mgclip.errors import InputError
from mgclip.experiment.geometry import projection
from mgclip.experiment.recipe import build_settings
from mgclip.method.learner import MGCLIP
from mgclip.method.model_files import undo
from mgclip.method.training import Step
from mgclip.saving.lock import only_writer
from mgclip.saving.store import is_saved, read_manifest
from mgclip.saving.versions import Version, history, shown
from mgclip.workflows.learn import learn_folder
from mgclip.workflows.note import LearnNote
from mgclip.workflows.plan import make_plan
from mgclip.workflows.predict import UNKNOWN, Answer, predict_files
from mgclip.workflows.source import Source

LONGEST_NAME = 200
"""Letters of a class name taken from the page."""


class StudioModel:
    """A model folder at work: several may ask, one at a time uses the model, one process at a time writes.

    ``base`` is the CLIP a new model starts from; ``most`` how many images are taken at once.
    """

    def __init__(self, folder: Path, *, base: str, most: int) -> None:
        self.folder, self.base, self.most = folder, base, most
        self._lock = Lock()
        self._model: MGCLIP | None = None
        self._state = ""

    def model(self) -> MGCLIP:
        """The model of the version in force; a new one where there is none yet."""
        if not is_saved(self.folder):
            if self._model is None or self._model.class_names:
                self._model = MGCLIP.from_pretrained(self.base, settings=build_settings({}))
            return self._model
        state = read_manifest(self.folder)[1].name
        if self._model is None or state != self._state:
            self._model, self._state = MGCLIP.from_pretrained(self.folder, base=self.base or None), state
        return self._model

    def classes(self) -> list[str]:
        """Names of all classes learned."""
        with self._lock:
            return list(self.model().class_names)

    def predict(
        self, files: Sequence[Path], *, also: str = "", threshold: float = 0.0, top: int = 3
    ) -> tuple[list[Answer], list[str]]:
        """Answers, and what is wrong with files that cannot be read. Raises ``InputError`` for too many files or none."""
        self._check(files)
        bad: list[str] = []
        candidates = [text.strip() for text in also.split(",") if text.strip()]
        with self._lock:
            answers = list(
                predict_files(
                    self.model(),
                    files,
                    top=top,
                    also=candidates,
                    threshold=threshold,
                    on_bad=lambda file, _: bad.append(f"{file.name} cannot be read as an image"),
                )
            )
        return answers, bad

    def learn_folder(self, name: str, files: Sequence[Path], on_step: Callable[[Step], None]) -> LearnNote:
        """Learn one class of these images, all of them trained on; the note of the new version.

        Raises ``InputError`` for a name or images that cannot be learned, and where another process writes.
        """
        self._check(files)
        name = " ".join(name.split())
        if not name or len(name) > LONGEST_NAME:
            raise InputError(f"A class needs a name of 1 to {LONGEST_NAME} letters; found {len(name)}.")
        source = Source(self.folder, {name: list(files)}, {}, {})
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            with only_writer(self.folder):
                model = self.model()
                plan = make_plan(model, source, share=0.0, seed=model.settings.seed)
                try:
                    note = learn_folder(model, self.folder, plan, origin="studio", on_step=on_step)
                finally:
                    self._model = None  # what was learned halfway is not kept: the folder says what is in force
        return note

    def undo(self, to: int | None) -> Version:
        """Another version in force."""
        with self._lock:
            return undo(self.folder, to)

    def history(self) -> list[Version]:
        """All versions; none where nothing was learned yet."""
        return history(self.folder) if is_saved(self.folder) else []

    def gap_points(self, files: Sequence[Path]) -> tuple[Any, Any, Any, tuple[str, ...]]:
        """Images and class texts in the plane, the class answered for each image, and the names: for the picture of the gap."""
        self._check(files)
        with self._lock:
            model = self.model()
            features = model.encoder.images(model.encoder.pixels(list(files), keep_bytes=0))
            labels = model.classify(features).labels
            points = projection(features, model.encoder.texts(model.class_texts))
        return (*points, np.asarray(labels), model.class_names)

    def _check(self, files: Sequence[Path]) -> None:
        if not files:
            raise InputError("There is no image: drop some first.")
        if len(files) > self.most:
            raise InputError(f"At most {self.most} images at a time; found {len(files)}.")


def rows(answers: Sequence[Answer]) -> list[list[Any]]:
    """A table of answers: file, class, confidence, likeness, what texts and head say of it, and the next best."""
    return [
        [
            answer.file.name,
            UNKNOWN if answer.name is None else answer.name,
            round(answer.confidence, 4),
            round(answer.likeness, 4),
            round(answer.best[0]["text"], 4),
            "" if answer.best[0]["image"] is None else round(answer.best[0]["image"], 4),
            ", ".join(f"{row['class']} {row['confidence']:.2f}" for row in answer.best[1:]),
        ]
        for answer in answers
    ]


def version_rows(versions: Sequence[Version]) -> list[list[Any]]:
    """A table of versions, the latest first."""
    return [
        [
            version.number,
            "in force" if version.active else "",
            version.time[:16].replace("T", " "),
            f"{note.get('what', 'saved')} {', '.join(map(str, note.get('classes', [])[:6]))}".strip(),
            note.get("images", ""),
        ]
        for version, note in ((version, shown(version.note)) for version in reversed(versions))
    ]
