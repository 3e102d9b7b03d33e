"""Learning from a folder into a model folder: read the images, plan, lock the model, learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mgclip.errors import InputError
from mgclip.experiment.recipe import build_settings, parse_change
from mgclip.method.learner import MGCLIP
from mgclip.method.settings import Settings
from mgclip.method.training import OnStep
from mgclip.saving.lock import only_writer
from mgclip.saving.store import check_place, is_saved
from mgclip.workflows.learn import Plan, learn_folder, make_plan
from mgclip.workflows.source import Source, read_images, read_source, readable

DEFAULT_CLIP = "openai/clip-vit-base-patch16"
"""The CLIP that a new model starts from if none is given."""


@dataclass(frozen=True)
class LearnJob:
    """What is to be learned, read and checked. Nothing is written yet.

    Attributes:
        folder: Folder of the images.
        model: Folder of the model, which may not exist yet.
        base: CLIP of a new model, or path of a saved model's CLIP if it has moved.
        given: The settings that the caller gave.
        settings: The settings of a new model.
        source: The images by class.
        hold_out: Share of the images of each class to measure on.
        retention: Images of classes never trained on, by class.
        skipped: Images that cannot be read: ``image`` and ``reason``.
    """

    folder: Path
    model: Path
    base: str
    given: Mapping[str, Any]
    settings: Settings
    source: Source
    hold_out: float
    retention: Mapping[str, list[Path]]
    skipped: list[dict[str, str]]

    def plan(self) -> tuple[MGCLIP, Plan]:
        """Load the model, or make a new one, and plan.

        Raises:
            InputError: If the classes cannot be learned, or settings are given that a saved model keeps.
        """
        model = self._open()
        return model, make_plan(model, self.source, share=self.hold_out, seed=model.settings.seed)

    def _open(self) -> MGCLIP:
        if not is_saved(self.model):
            return MGCLIP.from_pretrained(self.base or DEFAULT_CLIP, settings=self.settings)
        runtime = {key: value for key, value in self.settings.runtime().items() if key in self.given}
        if fixed := [key for key in self.given if key not in runtime]:
            raise InputError(f"{self.model} exists and keeps its settings: leave {fixed[0]} out, or give a new folder.")
        return MGCLIP.from_pretrained(self.model, base=self.base or None, computing=runtime)

    @contextmanager
    def begin(self, *, wait: float) -> Iterator[tuple[MGCLIP, Plan]]:
        """Lock the folder of the model, wait up to ``wait`` seconds for another writer, and yield the model and its plan."""
        first = None if is_saved(self.model) else self.plan()  # errors come before the folder is created
        with only_writer(self.model, wait=wait):
            if first is None or is_saved(self.model):  # another process may have written it in the meantime
                first = self.plan()
            yield first

    def learn(
        self, model: MGCLIP, plan: Plan, *, on_step: OnStep, checkpoint_every: int, stop: Callable[[], bool]
    ) -> dict[str, Any]:
        """Learn as planned and save the next version.

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
            on_step=on_step,
            checkpoint_every=checkpoint_every,
            stop=stop,
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
        InputError: If a setting is wrong, a folder cannot be used, or an image to be skipped was the last of its class.
    """
    check_place(model)
    given = {**dict(map(parse_change, changes)), **({"prompt": prompt} if prompt else {})}
    settings = build_settings(given)
    source = read_source(folder, names=names, test=test)
    kept = {} if retention is None else read_images(retention)
    skipped: list[dict[str, str]] = []
    if skip_unreadable:
        train, skipped = readable(source.train)
        tests, more = (None, []) if source.tests is None else readable(source.tests)
        kept, others = readable(kept)
        source, skipped = replace(source, train=train, tests=tests), [*skipped, *more, *others]
    return LearnJob(folder, model, base, given, settings, source, hold_out, kept, skipped)
