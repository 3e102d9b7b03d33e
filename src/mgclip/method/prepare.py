"""Make a backbone ready for a learner: fresh adapters, and how to compute."""

from __future__ import annotations

from pathlib import Path

from mgclip.clip.adapters import attach_adapters, read_adapter_file, set_adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.method.settings import Settings


def prepare(backbone: Backbone, settings: Settings) -> None:
    """Attach the adapters that the settings describe, in place of those that were there, and configure the arithmetic.

    Raises ``InputError`` where the file of initial adapters cannot be read or does not fit.
    """
    attach_adapters(
        backbone,
        rank=settings.rank,
        alpha=settings.lora_alpha,
        seed=settings.seed,
        projections=settings.projections,
    )
    if settings.adapter_init is not None:
        set_adapter_state(backbone, read_adapter_file(Path(settings.adapter_init).expanduser()))
    backbone.configure(
        precision=settings.precision,
        micro_batch=settings.micro_batch_size,
        compiled=settings.compile,
        checkpointing=settings.activation_checkpointing,
    )
