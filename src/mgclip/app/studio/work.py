"""What the studio does with its model, without its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mgclip.app.studio.active import About, ActiveModel
from mgclip.errors import InputError
from mgclip.experiment.geometry import projection
from mgclip.experiment.schemas import SkippedImage
from mgclip.method.class_edits import position_of
from mgclip.method.learner import MGCLIP
from mgclip.method.model_files import undo
from mgclip.method.training import Step
from mgclip.names import canonical, index_of, not_among, tidy
from mgclip.saving.store import is_saved
from mgclip.saving.versions import Version, check_saved, history
from mgclip.workflows.alike_names import choose_names, rename
from mgclip.workflows.answers import Answer
from mgclip.workflows.branches import leave_one_out
from mgclip.workflows.correct import CorrectReport, correct_images
from mgclip.workflows.edit_model import Forgotten, forget_class, relabel_class
from mgclip.workflows.held_out import has_its_size, is_there, of_classes, read_held_out
from mgclip.workflows.learn import learn_folder
from mgclip.workflows.note import LearnNote
from mgclip.workflows.plan import Plan, make_plan
from mgclip.workflows.predict import predict_files, split_candidates
from mgclip.workflows.source import Source, readable

LONGEST_NAME = 200
"""Characters of the longest class name."""


@dataclass(frozen=True)
class Map:
    """Images ``(n, 2)`` and class texts ``(c, 2)`` in one plane, the answer to each image, the names of the classes, and the
    number of the version that gave the answers, if it has one.
    """

    images: Any
    texts: Any
    labels: Any
    names: tuple[str, ...]
    version: int | None = None


def _summed(on_images: Callable[[int, int], None], of: int) -> Callable[[int], None]:
    """A function that is called with the images of each pass, and calls ``on_images`` with their sum so far, at most ``of``."""
    so_far = 0

    def add(number: int) -> None:
        nonlocal so_far
        so_far = min(so_far + number, of)
        on_images(so_far, of)

    return add


class StudioModel(ActiveModel):
    """What the pages do with the model of a folder: one thread at a time uses the model."""

    def predict(
        self, files: Sequence[Path], *, candidates: str = "", threshold: float | None = None, top: int = 4
    ) -> tuple[list[Answer], list[tuple[Path, str]], About]:
        """Answer image files.

        Args:
            files: The files.
            candidates: Extra candidate classes, separated by commas.
            threshold: The likeness below which the answer is *unknown*; None: the threshold of the model, if it has one.
            top: The number of classes of each answer.

        Returns:
            The answers, each file that cannot be read with the reason, and the model that answered.
        """
        bad: list[tuple[Path, str]] = []
        with self._lock:  # the next thread that gets it may change the model
            answers = list(
                predict_files(
                    self._ready(),
                    files,
                    top=top,
                    candidates=split_candidates(candidates),
                    threshold=threshold,
                    on_bad=lambda file, reason: bad.append((file, reason)),
                )
            )
            return answers, bad, self._loaded()

    def plan(self, images: Mapping[str, Sequence[Path]]) -> tuple[Plan, list[SkippedImage]]:
        """Plan what ``learn`` will do with images by class; also return the images that cannot be read."""
        source, skipped = self._source(images)
        with self._lock:
            return self._plan(self._load(), source), skipped

    def _source(self, images: Mapping[str, Sequence[Path]]) -> tuple[Source, list[SkippedImage]]:
        for name in images:
            if not name or len(name) > LONGEST_NAME:
                raise InputError(f"A class needs a name of 1 to {LONGEST_NAME} characters; found {len(name)}.")
        kept, skipped = readable(images)
        return Source(self.folder, kept, {}, {}), skipped

    def _plan(self, model: MGCLIP, source: Source) -> Plan:
        """Plan to train on all images: uploads are deleted soon, so they cannot be measured on later.

        Names that are probably one name become one, and the plan says so.
        """
        names, united = choose_names(source.train, model.class_names, merge=True)
        source = replace(source, train=rename(source.train, names), notes=tuple(united))
        return make_plan(model, source, share=0.0, seed=model.settings.seed, held_out=read_held_out(self.folder))

    def learn(
        self,
        images: Mapping[str, Sequence[Path]],
        on_step: Callable[[Step], None],
        on_images: Callable[[int, int], None] = lambda number, of: None,
    ) -> tuple[LearnNote, float | None, About]:
        """Learn images of new or known classes, and save this as a new version.

        Args:
            images: Image files by class.
            on_step: Called after each training step.
            on_images: Called with the number of images that were encoded so far, and that of all of them.

        Returns:
            The note of the version, the leave-one-out accuracy before it, and the model with it.

        Raises:
            InputError: If a name or the images cannot be used, or another process writes the model.
        """
        source, skipped = self._source(images)
        with self._lock:
            model, about = self._load(), self._loaded()  # other pages see this version until the model has learned
            if not about.state:
                self._plan(model, source)  # errors come before the folder is created
            with self._writing():
                model = self._load()
                before = leave_one_out(model)
                plan = self._plan(model, source)
                model.encoder.on_images = _summed(on_images, plan.images)
                note = learn_folder(model, self.folder, plan, origin="studio", skipped=skipped, on_step=on_step)
            return note, before, self._loaded()

    def correct(self, right: Mapping[Path, str]) -> CorrectReport:
        """Give images their right classes, which the model knows, and save this as a new version.

        Raises:
            InputError: If a class or an image cannot be used, the head is a trained one, or another process writes the model.
        """
        with self._lock:
            check_saved(self.folder)
            with self._writing():
                model = self._load()
                if model.solved is not None and (new := not_among(right.values(), model.class_names)):
                    raise InputError(
                        f"The model has not learned the class {new[0]!r}: correct the name, or teach the class first."
                    )
                return correct_images(model, self.folder, right, origin="studio")

    def rename(self, name: str, new: str) -> None:
        """Call a class ``new``. Raises ``InputError`` if that is its name, or that of another one, which ``unite`` is for."""
        new = tidy(new)
        if new == name:
            raise InputError(f"The class is called {name!r} already: give another name.")
        with self._lock:
            if not new or len(new) > LONGEST_NAME:
                raise InputError(f"A class needs a name of 1 to {LONGEST_NAME} characters; found {len(new)}.")
            known = index_of(new, self._load().class_names)
            if known is not None and canonical(new) != canonical(name):
                raise InputError(f"There is a class {new!r} already: choose another name, or unite the two classes.")
            relabel_class(self.folder, name, new, base=self.base)

    def unite(self, name: str, into: str) -> None:
        """Unite a class with another one. Raises ``InputError`` if one of them was not learned or they are the same."""
        if not tidy(into):
            raise InputError(f"There is no class to unite {name!r} with: give the name of another one.")
        with self._lock:
            names = self._load().class_names
            own, other = names[position_of(names, name)], names[position_of(names, into)]
            if own == other:
                raise InputError(f"A class cannot be united with itself: choose another class for {own!r}.")
            relabel_class(self.folder, own, other, base=self.base)

    def forget(self, name: str) -> Forgotten:
        """Remove a class, and return what remains of it."""
        with self._lock:
            return forget_class(self.folder, name, base=self.base)

    def examples(self, names: Sequence[str], most: int) -> dict[str, tuple[list[Path], int]]:
        """At most ``most`` held-out images of each class, and how many there are. A model stores no images, so there are no
        others to show.
        """
        existing = {
            name: list(filter(has_its_size, images)) for name, images in of_classes(read_held_out(self.folder), names).items()
        }
        return {
            name: ([image.path for image in islice(filter(is_there, images), most)], len(images))
            for name, images in existing.items()
        }

    def undo(self, to: int | None) -> Version:
        """Activate a version, the previous one by default, and return it."""
        with self._lock:
            return undo(self.folder, to)

    def history(self) -> list[Version]:
        """All versions; none if nothing was learned yet."""
        return history(self.folder) if is_saved(self.folder) else []

    def map(self, files: Sequence[Path]) -> Map:
        """Images and the texts of all classes in one plane, to draw the modality gap."""
        with self._lock:
            model = self._ready()
            features = model.encoder.images(model.encoder.pixels(list(files), keep_bytes=0))
            labels = model.classify(features).labels
            points = projection(model.encoder.in_text_space(features), model.encoder.texts(model.class_texts))
            return Map(*points, np.asarray(labels), model.class_names, self._loaded().version)
