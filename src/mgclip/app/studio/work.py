"""What the studio does, without its page: one model folder, read again whenever another version becomes active."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from mgclip.errors import InputError
from mgclip.experiment.geometry import projection
from mgclip.method.baselines.table import settings_of_new_model
from mgclip.method.learner import MGCLIP
from mgclip.method.model_files import undo
from mgclip.method.training import Step
from mgclip.saving.lock import only_writer
from mgclip.saving.store import is_saved, read_manifest
from mgclip.saving.versions import Version, check_saved, describe, history, shown
from mgclip.words import count
from mgclip.workflows.answers import Answer
from mgclip.workflows.correct import CorrectReport, correct_images
from mgclip.workflows.held_out import read_held_out
from mgclip.workflows.learn import learn_folder
from mgclip.workflows.note import LearnNote
from mgclip.workflows.plan import make_plan
from mgclip.workflows.predict import predict_files
from mgclip.workflows.source import Source

LONGEST_NAME = 200
"""Characters of the longest class name."""


class StudioModel:
    """The model of a folder, shared by the threads of the studio: one thread at a time uses the model.

    Args:
        folder: The folder of the model, which may not exist yet.
        base: The CLIP that a new model starts from, or the path of a saved model's CLIP if it has moved.
        max_images: The largest number of images per request.
    """

    def __init__(self, folder: Path, *, base: str, max_images: int) -> None:
        self.folder, self.base, self.max_images = folder, base, max_images
        self._lock = Lock()
        self._model: MGCLIP | None = None
        self._state = ""

    def _load(self) -> MGCLIP:
        """The model of the active version; a new one if nothing is saved. The lock must be held."""
        if not is_saved(self.folder):
            if self._model is None or self._model.class_names:
                self._model = MGCLIP.from_pretrained(self.base, settings=settings_of_new_model("", {}))
            return self._model
        state = read_manifest(self.folder)[1].name
        if self._model is None or state != self._state:
            self._model, self._state = MGCLIP.from_pretrained(self.folder, base=self.base or None), state
        return self._model

    def classes(self) -> list[str]:
        """The names of all learned classes."""
        with self._lock:
            return list(self._load().class_names)

    def predict(
        self, files: Sequence[Path], *, candidates: str = "", threshold: float = 0.0, top: int = 3
    ) -> tuple[list[Answer], list[str]]:
        """Answers for image files, and a sentence for each file that cannot be read; ``candidates`` are separated by commas.
        Raises ``InputError`` if there are no files or too many.
        """
        self._check(files)
        bad: list[str] = []
        with self._lock:
            answers = list(
                predict_files(
                    self._load(),
                    files,
                    top=top,
                    candidates=[text.strip() for text in candidates.split(",") if text.strip()],
                    threshold=threshold,
                    on_bad=lambda file, _: bad.append(f"{file.name} cannot be read as an image"),
                )
            )
        return answers, bad

    def learn(self, name: str, files: Sequence[Path], on_step: Callable[[Step], None]) -> LearnNote:
        """Learn images of a class, new or known, all of which are used for training, and return the note of the version.

        Raises ``InputError`` if the name or the images cannot be used, or another process writes the model.
        """
        self._check(files)
        name = " ".join(name.split())
        if not name or len(name) > LONGEST_NAME:
            raise InputError(f"A class needs a name of 1 to {LONGEST_NAME} characters; found {len(name)}.")
        source = Source(self.folder, {name: list(files)}, {}, {})
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            with only_writer(self.folder):
                model = self._load()
                held_out = read_held_out(self.folder)
                plan = make_plan(model, source, share=0.0, seed=model.settings.seed, held_out=held_out)
                try:
                    return learn_folder(model, self.folder, plan, origin="studio", on_step=on_step)
                finally:
                    self._model = None  # it may be trained only in part: load the active version again

    def correct(self, name: str, file: Path) -> CorrectReport:
        """Give an image its right class, which the model knows, and save this as a new version.

        Raises:
            InputError: If the class or the image cannot be used, the head is a trained one, or another process writes the model.
        """
        with self._lock:
            check_saved(self.folder)
            with only_writer(self.folder):
                model = self._load()
                try:
                    return correct_images(model, self.folder, {file: name}, origin="studio")
                finally:
                    self._model = None  # it may be changed without a new version: load the active version again

    def undo(self, to: int | None) -> Version:
        """Activate a version, the previous one by default, and return it."""
        with self._lock:
            return undo(self.folder, to)

    def history(self) -> list[Version]:
        """All versions; none if nothing was learned yet."""
        return history(self.folder) if is_saved(self.folder) else []

    def gap_points(self, files: Sequence[Path]) -> tuple[Any, Any, Any, tuple[str, ...]]:
        """Images and class texts in one plane, to draw the modality gap.

        Returns points of the images ``(n, 2)`` and of the texts ``(c, 2)``, the predicted class of each image ``(n,)``, and the
        names of the classes.
        """
        self._check(files)
        with self._lock:
            model = self._load()
            features = model.encoder.images(model.encoder.pixels(list(files), keep_bytes=0))
            labels = model.classify(features).labels
            points = projection(features, model.encoder.texts(model.class_texts))
        return (*points, np.asarray(labels), model.class_names)

    def _check(self, files: Sequence[Path]) -> None:
        if not files:
            raise InputError("There is no image: drop some first.")
        if len(files) > self.max_images:
            raise InputError(f"At most {count(self.max_images, 'image')} per request; found {len(files)}.")


def answer_rows(answers: Sequence[Answer]) -> list[list[Any]]:
    """A table of answers: file, class, confidence, likeness, scores of both branches, and the next best classes."""
    return [
        [
            answer.file.name,
            answer.shown_name,
            round(answer.confidence, 4),
            round(answer.likeness, 4),
            round(answer.best[0].text, 4),
            "" if answer.best[0].head is None else round(answer.best[0].head, 4),
            ", ".join(f"{each.name} {each.confidence:.2f}" for each in answer.best[1:]),
        ]
        for answer in answers
    ]


def version_rows(versions: Sequence[Version]) -> list[list[Any]]:
    """A table of versions, the latest first."""
    return [
        [
            version.number,
            "active" if version.active else "",
            version.time[:16].replace("T", " "),
            describe(version.note, most=6),
            shown(version.note).get("images", ""),
        ]
        for version in reversed(versions)
    ]
