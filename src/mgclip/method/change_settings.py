"""Change settings of a learned model that need no training; all others are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mgclip.errors import InputError
from mgclip.method.analytic import solved_head
from mgclip.method.analytic.solved_head import LogitsOver
from mgclip.method.model_files import ModelState
from mgclip.method.setting_effects import without_effect
from mgclip.method.settings import RUNTIME_SETTINGS, Settings
from mgclip.words import count, were

CHANGEABLE = ("branches", "vision_weight", "text_weight", "fusion", "unknown_below", "precision", *sorted(RUNTIME_SETTINGS))
"""The settings that need no training."""

REASONS = {
    "it decides how texts are encoded": {"prompt"},
    "it decides how the head is computed": {
        *("compensation", "representation", "features", "kernel", "class_balance", "gamma", "bank_per_class"),
        *("head_epochs", "head_lr", "head_batch_size", "seed"),
    },
    "it decides how images are opened": {"jpeg_draft"},
    "it decides which old images are kept and replayed": {
        *("memory", "replay_weight", "balanced", "balanced_epochs"),
    },
}
"""Why other settings cannot change. Those that are not listed decide how the adapters are trained."""


def with_settings(learned: ModelState, given: Mapping[str, Any], logits_over: Callable[[Settings], LogitsOver]) -> ModelState:
    """What was learned, with other settings.

    Args:
        learned: What the model has learned.
        given: Settings by name.
        logits_over: The text branch of a model with some settings.

    Raises:
        InputError: If a setting needs training, does not exist, has no effect on this model, or has a wrong value.
    """
    if fixed := [key for key in given if key in Settings.model_fields and key not in CHANGEABLE]:
        why = next((reason for reason, keys in REASONS.items() if fixed[0] in keys), "it decides how the adapters are trained")
        raise InputError(
            f"{fixed[0]} cannot change without training, because {why}: learn a new model with it. "
            f"Without training these can: {', '.join(CHANGEABLE)}."
        )
    if unused := without_effect(learned.settings, given):  # before the values, which then do not matter
        kind, instead = ("trained", "vision_weight") if learned.solved is None else ("solved", "text_weight")
        raise InputError(f"{unused[0]} has no effect on a model with a {kind} head: set {instead}.")
    settings = Settings(**{**learned.settings.model_dump(), **given})
    if settings.uses_head and learned.solved is None:
        _check_head(learned)
    before = learned.settings
    if learned.solved is None or (settings.text_weight, settings.branches) == (before.text_weight, before.branches):
        return replace(learned, settings=settings)
    head = replace(learned.solved, text_weight=settings.text_weight)
    return replace(learned, settings=settings, solved=solved_head.resolved(head, logits_over(settings)(learned.class_texts)))


def _check_head(learned: ModelState) -> None:
    """Check that the head has a row for every class: a model that predicts from texts does not compute them."""
    if missing := int((learned.head == 0).all(1).sum()):
        raise InputError(
            f"{count(missing, 'class', 'classes')} of this model {were(missing)} learned with branches=text, "
            "so the head does not know them: keep branches=text, or learn a new model."
        )
