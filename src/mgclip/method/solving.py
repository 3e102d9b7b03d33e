"""From the images of a task to the solved head over all classes (docs/method.md 10, 11)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.encoder import Encoder, check_finite
from mgclip.clip.pixels import PreparedImages
from mgclip.method import solved_head
from mgclip.method.analytic import FourierFeatures, median_gamma
from mgclip.method.settings import Settings
from mgclip.method.solved_head import Images, LogitsOver, SolvedHead
from mgclip.method.task import TaskData
from mgclip.names import index_of


def solve_task(
    head: SolvedHead | None,
    encoder: Encoder,
    task: TaskData,
    names: Sequence[str],
    texts: Sequence[str],
    settings: Settings,
    before: Tensor | None = None,
) -> SolvedHead:
    """The solved head with the images of a task.

    Args:
        head: The head after the previous task; None for the first one, which decides the width of the kernel.
        encoder: The adapted CLIP.
        task: The task.
        names: All classes, those that are new in this task last.
        texts: What prompts call these classes.
        settings: The settings of the model.
        before: Features of the task's images before its adapter phase, if the head must follow the adapters.

    Raises:
        InputError: If a feature is not finite.
    """
    place = torch.tensor([index_of(name, names) for name in task.names])
    images = marked_images(encoder, task.pixels, place[task.labels])
    if head is None:
        gamma = settings.gamma or median_gamma(images.features)
        fourier = FourierFeatures(encoder.backbone.feature_dim, settings.features, gamma, settings.seed)
        per_class = settings.bank_per_class if settings.adapt == "always" and settings.epochs != 0 else 0
        head = SolvedHead.empty(fourier, encoder.backbone.device, per_class=per_class, text_weight=settings.text_weight)
    if before is not None:
        head = solved_head.moved(head, before, images.features)
    return solved_head.add(head, images, logits_over(encoder)(texts))


def marked_images(encoder: Encoder, pixels: PreparedImages, labels: Tensor | None = None) -> Images:
    """Images with their features, the fingerprints of their pixels and their labels, or label 0; the same in all processes.

    Raises:
        InputError: If a feature is not finite.
    """
    marks = pixels.record_marks()
    features = encoder.images(pixels, shared=True)
    check_finite(features)
    marks = parallel.gather_rows(parallel.shard(marks)).to(features.device)
    return Images(marks, torch.zeros_like(marks) if labels is None else labels.to(features.device), features)


def logits_over(encoder: Encoder) -> LogitsOver:
    """The text branch of a CLIP, over any classes."""
    device = encoder.backbone.device

    @torch.no_grad()
    def logits(features: Tensor, texts: Sequence[str]) -> Tensor:
        return encoder.logits(features.to(device), texts)

    return lambda texts: partial(logits, texts=texts)
