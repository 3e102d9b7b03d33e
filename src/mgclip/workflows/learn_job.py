"""The steps of ``mgclip learn``: read the images, plan, lock the model, learn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mgclip.errors import InputError
from mgclip.experiment.recipe import build_settings, parse_change
from mgclip.experiment.schemas import SkippedImage
from mgclip.method.learner import MGCLIP
from mgclip.saving.lock import only_writer
from mgclip.saving.store import check_place, is_saved
from mgclip.workflows.learn import learn_folder
from mgclip.workflows.note import LearnReport
from mgclip.workflows.plan import Plan, make_plan
from mgclip.workflows.source import Source, read_images, read_source, readable

DEFAULT_CLIP = "openai/clip-vit-base-patch16"
"""The CLIP that a new model starts from if none is given."""


@dataclass(frozen=True)
class LearnJob:
    """What ``mgclip learn`` will do, read and checked. Nothing is written yet.

    Attributes:
        folder: The folder to learn from.
        model: The folder of the model.
        base: The CLIP of the model, or ``""`` for the default.
        given: The settings that were given.
        source: Images and names of the classes.
        hold_out: The share of each class to measure on.
        retention: Images of classes never trained on.
        skipped: Images that cannot be read, and why.
    """

    folder: Path
    model: Path
    base: str
    given: Mapping[str, Any]
    source: Source
    hold_out: float
    retention: Mapping[str, list[Path]]
    skipped: list[SkippedImage]

    def plan(self) -> tuple[MGCLIP, Plan]:
        """Load or make the model, and plan.

        Raises:
            InputError: If the classes cannot be learned, or a setting is given that a saved model keeps.
        """
        settings, base = build_settings(self.given), self.base or None
        if not is_saved(self.model):
            model = MGCLIP.from_pretrained(base or DEFAULT_CLIP, settings=settings)
        else:
            runtime = {key: value for key, value in settings.runtime().items() if key in self.given}
            if fixed := [key for key in self.given if key not in runtime]:
                raise InputError(
                    f"{self.model} exists and keeps its settings: leave {fixed[0]} out, or give a new folder."
                )
            model = MGCLIP.from_pretrained(self.model, base=base, runtime=runtime)
        return model, make_plan(model, self.source, share=self.hold_out, seed=model.settings.seed)

    @contextmanager
    def begin(self, *, wait: float) -> Iterator[tuple[MGCLIP, Plan]]:
        """Lock the folder of the model, wait up to ``wait`` seconds for another writer, and yield the model and its plan."""
        planned = None if is_saved(self.model) else self.plan()  # errors come before the folder is created
        with only_writer(self.model, wait=wait):
            if planned is None or is_saved(self.model):  # another process may have written it in the meantime
                planned = self.plan()
            yield planned

    def learn(self, model: MGCLIP, plan: Plan, **callbacks: Any) -> LearnReport:
        """Learn as planned and save the next version; ``callbacks`` are those of ``learn_folder``.

        Returns:
            The note of the version, with the path of the model and the number of classes it knows now.
        """
        note = learn_folder(
            model,
            self.model,
            plan,
            origin=str(self.folder),
            retention=self.retention,
            skipped=self.skipped,
            **callbacks,
        )
        return {"model": str(self.model), **note, "classes_in_all": len(model.class_names)}


def read_job(
    folder: Path,
    model: Path,
    *,
    changes: Iterable[str] = (),
    prompt: str = "",
    base: str = "",
    names: str = "",
    test: Path | None = None,
    hold_out: float = 0.2,
    retention: Path | None = None,
    skip_unreadable: bool = False,
) -> LearnJob:
    """Read the images and settings of ``mgclip learn``; the arguments are its options.

    Raises:
        InputError: If a setting is wrong, or a folder or its images cannot be used.
    """
    check_place(model)
    given = {**dict(map(parse_change, changes)), **({"prompt": prompt} if prompt else {})}
    build_settings(given)  # reports wrong settings before any image is read
    source = read_source(folder, names=names, test=test)
    retained = {} if retention is None else read_images(retention)
    skipped: list[SkippedImage] = []
    if skip_unreadable:
        train, skipped = readable(source.train)
        tests, more = (None, []) if source.tests is None else readable(source.tests)
        retained, others = readable(retained)
        source, skipped = replace(source, train=train, tests=tests), [*skipped, *more, *others]
    return LearnJob(folder, model, base, given, source, hold_out, retained, skipped)
