"""Make a backbone ready for a learner, and keep both as they are if a task is not learned to its end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from mgclip.clip.adapters import adapter_state, attach_adapters, read_adapter_file, set_adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.home import in_home
from mgclip.method.settings import Settings
from mgclip.saving.checkpoints import TaskCheckpoints


def prepare(backbone: Backbone, settings: Settings) -> None:
    """Attach fresh adapters, replacing any that are attached, and configure how images are opened, precision, micro-batches and
    compilation. Raises ``InputError`` if the file of initial adapters cannot be read or does not fit.
    """
    attach_adapters(
        backbone,
        rank=settings.rank,
        alpha=settings.lora_alpha,
        seed=settings.seed,
        projections=settings.projections,
    )
    if settings.adapter_init is not None:
        set_adapter_state(backbone, read_adapter_file(Path(in_home(settings.adapter_init))))
    backbone.jpeg_draft = settings.jpeg_draft
    backbone.configure(
        precision=settings.precision,
        micro_batch=settings.micro_batch_size,
        compiled=settings.compile,
        checkpointing=settings.activation_checkpointing,
    )


@contextlib.contextmanager
def unchanged_on_failure(
    backbone: Backbone, task: int, checkpoints: TaskCheckpoints, restore: Callable[[], None]
) -> Iterator[None]:
    """Learn a task with its checkpoints; if that fails or is interrupted, the adapters are those from before, and ``restore`` is
    called to restore the rest of the learner. The block must also store what was learned: otherwise a signal after its end
    would leave new adapters with an old head.
    """
    before = adapter_state(backbone)
    checkpoints.begin_task(task, lambda: adapter_state(backbone))
    try:
        yield
    except BaseException:
        set_adapter_state(backbone, before)
        restore()
        raise
