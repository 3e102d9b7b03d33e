"""The steps of ``mgclip learn``: read the images, plan, lock the model, learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mgclip.errors import InputError
from mgclip.experiment.recipe import build_settings, parse_change
from mgclip.experiment.schemas import SkippedImage
from mgclip.method.baselines.table import NEW_MODELS, settings_of_new_model, without_effect
from mgclip.method.learner import MGCLIP
from mgclip.method.settings import RUNTIME_SETTINGS
from mgclip.missing import not_found
from mgclip.saving.kept_features import KeptFeatures
from mgclip.saving.lock import only_writer
from mgclip.saving.store import check_place, is_saved, read_manifest
from mgclip.workflows.advice import learn_report
from mgclip.workflows.alike_names import AlikeNames
from mgclip.workflows.held_out import read_held_out
from mgclip.workflows.learn import learn_folder
from mgclip.workflows.merge import new_model_like
from mgclip.workflows.note import LearnReport
from mgclip.workflows.plan import Plan, make_plan
from mgclip.workflows.source import Source, read_images, read_source, readable
from mgclip.workflows.split import HOLD_OUT

DEFAULT_CLIP = "openai/clip-vit-base-patch16"
"""The CLIP that a new model starts from if none is given."""
WAIT_ADVICE = "try again when it is done, or wait for it with --wait SECONDS"
"""What ``mgclip learn`` advises if another process writes the model."""


@dataclass(frozen=True)
class LearnJob:
    """What ``mgclip learn`` will do, read and checked. Nothing is written yet.

    Attributes:
        folder: The folder to learn from.
        model: The folder of the model.
        base: The CLIP of the model, or ``""`` for the default.
        given: The settings that were given.
        method: The method of a new model, or ``""`` for the default.
        like: A saved model with which a new model can be merged later, or None.
        source: Images and names of the classes.
        hold_out: The share of each class to measure on.
        retention: Images of classes never trained on.
        skipped: Images that cannot be read, and why.
        photos: The folder to which held-out images have moved, or None.
        kept: Where features of images are kept, or None.
    """

    folder: Path
    model: Path
    base: str
    given: Mapping[str, Any]
    method: str
    like: Path | None
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
        model, notes = open_model(self.model, self.base, self.given, self.method, self.like)
        model.encoder.kept = self.kept
        held_out = read_held_out(self.model, *([self.photos] if self.photos else []), self.folder)
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

    @contextmanager
    def begin(
        self, *, wait: float, on_images: Callable[[int, int], None] = lambda done, total: None
    ) -> Iterator[tuple[MGCLIP, Plan]]:
        """Lock the folder of the model, wait up to ``wait`` seconds for another writer, and yield the model and its plan."""
        planned = None if is_saved(self.model) else self.plan(on_images)  # errors come before the folder is created
        with only_writer(self.model, wait=wait, advice=WAIT_ADVICE):
            if planned is None or is_saved(self.model):  # another process may have written it in the meantime
                planned = self.plan(on_images)
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
        return learn_report(model, note, str(self.model))


def open_model(folder: Path, base: str, given: Mapping[str, Any], method: str, like: Path | None) -> tuple[MGCLIP, list[str]]:
    """Load a saved model or make a new one.

    Args:
        folder: The folder of the model.
        base: The CLIP of the model, or ``""`` for the default.
        given: The settings that were given.
        method: The method of a new model, or ``""`` for the default.
        like: A saved model with which a new model can be merged later, or None.

    Returns:
        The model, and sentences on settings that have no effect.

    Raises:
        InputError: If a setting is given that a saved model keeps.
    """
    clip, runtime = base or None, {key: value for key, value in build_settings(given).runtime().items() if key in given}
    kept = [key for key in given if key not in RUNTIME_SETTINGS]
    if is_saved(folder):
        options = [option for option, value in (("--method", method), ("--like", like)) if value]
        if fixed := [*options, *kept]:
            raise InputError(f"{folder} exists and keeps its settings: leave {fixed[0]} out, or give a new folder.")
        return MGCLIP.from_pretrained(folder, base=clip, runtime=runtime), []
    if like is not None:
        if fixed := [*(["--method"] if method else []), *kept]:
            raise InputError(f"--like takes the settings of {like}: leave {fixed[0]} out.")
        return new_model_like(like, base=clip, runtime=runtime), []
    if clip is not None and is_saved(clip):
        raise InputError(
            f"--base takes a CLIP, and {clip} is a saved model: teach it more with --model {clip}, or start a new model "
            f"that can be merged with it with --like {clip}."
        )
    settings = build_settings(settings_of_new_model(method, given))
    unused = without_effect(settings, given)
    notes = [f"settings without effect, because {method or NEW_MODELS} does not use them: {', '.join(unused)}"] if unused else []
    return MGCLIP.from_pretrained(clip or DEFAULT_CLIP, settings=settings), notes


def given_settings(model: Path, changes: Iterable[str], prompt: Sequence[str], method: str, like: Path | None) -> dict[str, Any]:
    """The settings that were given for a model, checked before any image is read. Raises ``InputError`` if one is wrong."""
    changed = dict(map(parse_change, changes))
    if prompt and "prompt" in changed:
        raise InputError("--prompt sets the prompt: use it instead of prompt=.")
    given = {**changed, **({"prompt": prompt[0] if len(prompt) == 1 else [*prompt]} if prompt else {})}
    build_settings(given if is_saved(model) or like else settings_of_new_model(method, given))
    return given


def read_job(
    folder: Path,
    model: Path,
    *,
    changes: Iterable[str] = (),
    prompt: Sequence[str] = (),
    base: str = "",
    method: str = "",
    like: Path | None = None,
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
    """Read the images and settings of ``mgclip learn``; the arguments are its options.

    ``ask`` is called if class names are alike and ``merge_names`` is false. If it returns True, they are merged.

    Raises:
        InputError: If a setting is wrong, or a folder or its images cannot be used.
    """
    check_place(model)
    if photos is not None and not photos.is_dir():
        raise not_found("folder", photos, "--photos takes the folder to which held-out images have moved")
    for place in (folder, model):
        if kept is not None and kept.folder.resolve().is_relative_to(place.resolve()):
            raise InputError(f"The folder for kept features {kept.folder} is in {place}: keep features outside of it.")
    given = given_settings(model, changes, prompt, method, like)
    known = read_manifest(model)[0].get("class_names", []) if is_saved(model) else []
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
    return LearnJob(folder, model, base, given, method, like, source, hold_out, retained, skipped, photos, kept)
