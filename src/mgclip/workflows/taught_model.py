"""The model that ``mgclip learn`` teaches: a saved one, or a new one with the settings that were given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mgclip.clip import parallel
from mgclip.errors import InputError
from mgclip.experiment.recipe import build_settings, parse_change
from mgclip.method.learner import MGCLIP
from mgclip.method.methods import NEW_MODELS, settings_of_new_model
from mgclip.method.setting_effects import without_effect
from mgclip.method.settings import RUNTIME_SETTINGS
from mgclip.saving.lock import only_writer
from mgclip.saving.store import check_place, is_saved
from mgclip.workflows.merge import new_model_like

DEFAULT_CLIP = "openai/clip-vit-base-patch16"
"""The CLIP that a new model starts from if none is given."""
WAIT_ADVICE = "try again when it is done, or wait for it with --wait SECONDS"
"""What ``mgclip learn`` advises if another process writes the model."""

Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class TaughtModel:
    """The model to teach, which exists already or will be new.

    Attributes:
        folder: Its folder.
        base: Its CLIP, or ``""`` for the default.
        given: The settings that were given.
        method: The method of a new model, or ``""`` for the default.
        like: A saved model with which a new model can be merged later, or None.
    """

    folder: Path
    base: str
    given: Mapping[str, Any]
    method: str
    like: Path | None

    def open(self) -> tuple[MGCLIP, list[str]]:
        """Load the saved model or make a new one.

        Returns:
            The model, and sentences on settings that have no effect.

        Raises:
            InputError: If a setting is given that a saved model keeps.
        """
        clip, like, given = self.base or None, self.like, self.given
        runtime = {key: value for key, value in build_settings(given).runtime().items() if key in given}
        kept = [key for key in given if key not in RUNTIME_SETTINGS]
        if is_saved(self.folder):
            options = [option for option, value in (("--method", self.method), ("--like", like)) if value]
            if fixed := [*options, *kept]:
                raise InputError(f"{self.folder} exists and keeps its settings: leave {fixed[0]} out, or give a new folder.")
            return MGCLIP.from_pretrained(self.folder, base=clip, runtime=runtime), []
        if like is not None:
            if fixed := [*(["--method"] if self.method else []), *kept]:
                raise InputError(f"--like takes the settings of {like}: leave {fixed[0]} out.")
            return new_model_like(like, base=clip, runtime=runtime), []
        if clip is not None and is_saved(clip):
            raise InputError(
                f"--base takes a CLIP, and {clip} is a saved model: teach it more with --model {clip}, or start a new model "
                f"that can be merged with it with --like {clip}."
            )
        settings = build_settings(settings_of_new_model(self.method, given))
        unused = ", ".join(without_effect(settings, given))
        notes = [f"settings without effect, because {self.method or NEW_MODELS} does not use them: {unused}"] if unused else []
        return MGCLIP.from_pretrained(clip or DEFAULT_CLIP, settings=settings), notes

    @contextmanager
    def locked(self, prepare: Callable[[], Prepared], *, wait: float) -> Iterator[Prepared]:
        """Lock the folder in the first process, waiting up to ``wait`` seconds for another writer, and yield what ``prepare``
        returns. For a new model it is also called before, so that its errors come before the folder is created.
        """
        prepared = None if is_saved(self.folder) else prepare()
        with only_writer(self.folder, wait=wait, advice=WAIT_ADVICE) if parallel.is_main() else nullcontext():
            parallel.wait()  # until the first process has the lock
            if prepared is None or is_saved(self.folder):  # another command may have written it in the meantime
                prepared = prepare()
            yield prepared


def read_taught_model(
    folder: Path,
    *,
    changes: Iterable[str] = (),
    prompt: Sequence[str] = (),
    base: str = "",
    method: str = "",
    like: Path | None = None,
) -> TaughtModel:
    """Read the settings that were given for a model, and check them before any image is read; the arguments are options of
    ``mgclip learn``. Raises ``InputError`` if a setting is wrong, or no model can be saved at ``folder``.
    """
    check_place(folder)
    changed = dict(map(parse_change, changes))
    if prompt and "prompt" in changed:
        raise InputError("--prompt sets the prompt: use it instead of prompt=.")
    given = {**changed, **({"prompt": prompt[0] if len(prompt) == 1 else [*prompt]} if prompt else {})}
    build_settings(given if is_saved(folder) or like else settings_of_new_model(method, given))
    return TaughtModel(folder, base, given, method, like)
