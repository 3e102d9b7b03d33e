"""The steps of ``mgclip learn``: read the images, plan, lock the model, learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mgclip.errors import InputError
from mgclip.experiment.schemas import SkippedImage
from mgclip.method.learner import MGCLIP
from mgclip.missing import not_found
from mgclip.saving.kept_features import KeptFeatures
from mgclip.saving.store import is_saved, read_manifest
from mgclip.workflows.advice import learn_report
from mgclip.workflows.alike_names import AlikeNames, choose_names
from mgclip.workflows.held_out import read_held_out
from mgclip.workflows.learn import learn_folder
from mgclip.workflows.note import LearnReport
from mgclip.workflows.plan import Plan, make_plan
from mgclip.workflows.source import Source, read_images, read_source, readable
from mgclip.workflows.split import HOLD_OUT
from mgclip.workflows.taught_model import TaughtModel


@dataclass(frozen=True)
class LearnJob:
    """What ``mgclip learn`` will do, read and checked. Nothing is written yet.

    Attributes:
        folder: The folder to learn from.
        model: The model to teach.
        source: Images and names of the classes.
        hold_out: The share of each class to measure on.
        retention: Images of classes never trained on.
        skipped: Images that cannot be read, and why.
        photos: The folder to which held-out images have moved, or None.
        kept: Where features of images are kept, or None.
    """

    folder: Path
    model: TaughtModel
    source: Source
    hold_out: float
    retention: Mapping[str, list[Path]]
    skipped: list[SkippedImage]
    photos: Path | None = None
    kept: KeptFeatures | None = None

    def plan(self, on_images: Callable[[int, int], None] = lambda done, total: None) -> tuple[MGCLIP, Plan]:
        """Load or make the model, and plan; ``on_images`` is that of ``make_plan``.

        Raises:
            InputError: If the classes cannot be learned, or a setting is given that a saved model keeps.
        """
        model, notes = self.model.open()
        # While this command waited, another one may have taught the model a class with another spelling.
        choose_names(self.source.train, model.class_names, merge=False)
        model.encoder.kept = self.kept
        held_out = read_held_out(self.model.folder, *([self.photos] if self.photos else []), self.folder)
        plan = make_plan(
            model,
            self.source,
            share=self.hold_out,
            seed=model.settings.seed,
            held_out=held_out,
            retention=sum(map(len, self.retention.values())),
            on_images=on_images,
        )
        return model, replace(plan, notes=(*notes, *plan.notes))

    def begin(
        self, *, wait: float, on_images: Callable[[int, int], None] = lambda done, total: None
    ) -> AbstractContextManager[tuple[MGCLIP, Plan]]:
        """Lock the folder of the model, wait up to ``wait`` seconds for another writer, and yield the model and its plan."""
        return self.model.locked(lambda: self.plan(on_images), wait=wait)

    def learn(self, model: MGCLIP, plan: Plan, **callbacks: Any) -> LearnReport:
        """Learn as planned and save the next version; ``callbacks`` are those of ``learn_folder``.

        Returns:
            The note of the version, with the path of the model and the number of classes it knows now.
        """
        note = learn_folder(
            model,
            self.model.folder,
            plan,
            origin=str(self.folder),
            retention=self.retention,
            skipped=self.skipped,
            **callbacks,
        )
        return learn_report(model, note, str(self.model.folder))


def read_job(
    folder: Path,
    model: TaughtModel,
    *,
    names: str = "",
    test: Path | None = None,
    hold_out: float = HOLD_OUT,
    retention: Path | None = None,
    skip_unreadable: bool = False,
    merge_names: bool = False,
    photos: Path | None = None,
    kept: KeptFeatures | None = None,
    ask: Callable[[AlikeNames], bool] = lambda alike: False,
) -> LearnJob:
    """Read the images that ``mgclip learn`` teaches a model; the arguments are its options.

    ``ask`` is called if class names are alike and ``merge_names`` is false. If it returns True, they are merged.

    Raises:
        InputError: If a folder or its images cannot be used.
    """
    if photos is not None and not photos.is_dir():
        raise not_found("folder", photos, "--photos takes the folder to which held-out images have moved")
    for place in (folder, model.folder):
        if kept is not None and kept.folder.resolve().is_relative_to(place.resolve()):
            raise InputError(f"The folder for kept features {kept.folder} is in {place}: keep features outside of it.")
    known = read_manifest(model.folder)[0].get("class_names", []) if is_saved(model.folder) else []
    try:
        source = read_source(folder, names=names, test=test, known=known, merge_names=merge_names)
    except AlikeNames as alike:
        if not ask(alike):
            raise
        source = read_source(folder, names=names, test=test, known=known, merge_names=True)
    if source.tests is not None and hold_out not in (0, HOLD_OUT):  # the default need not be given
        raise InputError(f"--hold-out applies to a folder without test images only, and {test or folder} has some: leave it out.")
    retained = {} if retention is None else read_images(retention)
    skipped: list[SkippedImage] = []
    if skip_unreadable:
        train, skipped = readable(source.train)
        tests, more = (None, []) if source.tests is None else readable(source.tests)
        retained, others = readable(retained)
        source, skipped = replace(source, train=train, tests=tests), [*skipped, *more, *others]
    return LearnJob(folder, model, source, hold_out, retained, skipped, photos, kept)
