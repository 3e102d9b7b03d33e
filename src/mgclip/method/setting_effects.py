"""Which settings have no effect on a model, because it has another kind of head or trains no adapters."""

from __future__ import annotations

from collections.abc import Iterable

from mgclip.method.settings import Settings

SOLVED_HEAD = {"representation", "features", "kernel", "class_balance", "gamma", "bank_per_class", "text_weight"}
TRAINED_HEAD = {"head_epochs", "head_lr", "head_batch_size", "vision_weight"}
ADAPTER_PHASE = {"epochs", "max_epochs", "alpha", "gap_average", "adapter_loss", "adapter_lr", "adapter_batch_size"}
"""Settings that have an effect only with a solved head, a trained one, or if adapters are trained."""
BANK = {"bank_per_class"}
"""Settings that have an effect only if adapters are trained on more than the first task."""


def without_effect(settings: Settings, given: Iterable[str]) -> list[str]:
    """The given settings that change nothing, because the model has a solved head or its adapters are not trained."""
    solved = settings.compensation == "analytic"
    unused = TRAINED_HEAD if solved else SOLVED_HEAD
    if solved and settings.adapt == "never":
        unused = unused | ADAPTER_PHASE - ({"epochs"} if settings.epochs == 0 else set())
    if solved and settings.adapt in ("never", "first"):
        unused = unused | BANK
    if solved and settings.kernel == "relu":
        unused = unused | {"gamma"}
    return [key for key in given if key in unused]
