"""From the images of a task to the solved head over all classes (docs/method.md 10, 11)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.adapters import adapters_have_effect, initialise_adapters, without_adapters
from mgclip.clip.encoder import Encoder, check_finite
from mgclip.clip.pixels import PreparedImages
from mgclip.clip.representation import part_of_both
from mgclip.method.analytic import solved_head
from mgclip.method.analytic.decision import Decision
from mgclip.method.analytic.evidence import Evidence
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.random_features import RandomFeatures, median_gamma
from mgclip.method.analytic.representation import choose_representation
from mgclip.method.analytic.solved_head import LogitsOver, SolvedHead
from mgclip.method.settings import Settings
from mgclip.method.task import TaskData
from mgclip.saving.checkpoints import TaskCheckpoints


@dataclass(frozen=True)
class Start:
    """What a solved head needs from before the adapter phase of a task.

    Attributes:
        head: The head after the previous task; None for the first one, which decides the width of the kernel.
        adapts: Whether the adapters are trained on this task.
        adapted: Features of the task's images before its adapter phase, if a bank of old features must follow the adapters.
        frozen: Their features with the pre-trained CLIP, while it is undecided whether the adapters stay.
        decision: What was decided about the adapters, if there was anything to decide.
    """

    head: SolvedHead | None
    adapts: bool
    adapted: Tensor | None = None
    frozen: Tensor | None = None
    decision: Decision | None = None


def trains_adapters(settings: Settings, head: SolvedHead | None, *, tasks: int) -> bool:
    """Whether the adapters are trained on the next task of a model that has learned ``tasks`` tasks."""
    if settings.adapt == "auto":
        return head is None or head.frozen is not None
    return settings.adapt == "always" or (settings.adapt == "first" and tasks == 0)


def start_task(
    head: SolvedHead | None, encoder: Encoder, task: TaskData, settings: Settings, checkpoints: TaskCheckpoints
) -> Start:
    """Encode the images of a task before its adapter phase, and decide with ``adapt: auto`` whether the adapters stay.

    If they do not stay, they are removed, and the head becomes one that has never seen them. A task whose images cannot be
    compared decides nothing. Adapters without any evidence for them are not trained further.

    Args:
        head: The head after the previous task; None for the first one.
        encoder: The adapted CLIP.
        task: The task.
        settings: The settings of the model.
        checkpoints: Checkpoints of this task. If it resumes, the earlier decision stands.
    """
    backbone, adapts = encoder.backbone, trains_adapters(settings, head, tasks=task.index)
    if head is None:
        encoder.representation = settings.encoded  # an interrupted first task may have chosen another one
    undecided = settings.adapt == "auto" and settings.epochs != 0 if head is None else head.frozen is not None
    if head is None or not (adapts or undecided):
        return Start(head, adapts, frozen=frozen_features(encoder, task.pixels) if undecided else None)
    marks = image_marks(task.pixels)
    frozen = frozen_features(encoder, task.pixels) if undecided else None
    adapted = encoder.images(task.pixels, shared=True) if adapts and head.bank is not None else None
    if frozen is None or adapted is None or not adapters_have_effect(backbone):
        return Start(head, adapts, adapted, frozen)
    check_finite(adapted)
    evidence = _evidence_with(task, head, frozen, adapted, marks, checkpoints)
    if evidence.images == 0:  # neither this task nor an earlier one could be compared
        return Start(head, False, frozen=frozen)
    if evidence.images == head.evidence.images:  # this task cannot be compared, so it decides nothing
        return Start(head, True, adapted, frozen)
    head, decision = replace(head, evidence=evidence), evidence.decision
    if decision.kept:
        return Start(head, True, adapted, frozen, decision)
    initialise_adapters(backbone, settings.seed)
    return Start(solved_head.without_adapters(head), False, decision=decision)


def _evidence_with(
    task: TaskData,
    head: SolvedHead,
    frozen: Tensor,
    adapted: Tensor,
    marks: Callable[[], Tensor],
    checkpoints: TaskCheckpoints,
) -> Evidence:
    """The evidence with that of a task: of its images that were never learned. A task that resumes has what was found before."""
    if (noted := checkpoints.notes.get("evidence")) is not None:
        return Evidence(**noted)
    unseen = torch.tensor([not labels for labels in head.learned.labels_of(marks())], device=frozen.device)
    own = head.evidence.plus(frozen[unseen], adapted[unseen], task.labels.to(frozen.device)[unseen])
    evidence = Evidence(own.images, *map(parallel.broadcast_float, (own.frozen, own.adapted, own.squares)))
    checkpoints.notes["evidence"] = asdict(evidence)
    return evidence


def solve_task(
    start: Start, encoder: Encoder, task: TaskData, names: Sequence[str], texts: Sequence[str], settings: Settings
) -> SolvedHead:
    """The solved head with the images of a task.

    Args:
        start: What was found before the adapter phase.
        encoder: The adapted CLIP.
        task: The task.
        names: All classes, those that are new in this task last.
        texts: What prompts call these classes.
        settings: The settings of the model.

    Raises:
        InputError: If a feature is not finite.
    """
    images = marked_images(encoder, task.pixels, task.places_among(names)[task.labels], frozen=start.frozen)
    head = start.head
    if head is None:
        if settings.representation == "auto":
            images = chosen_representation(images, encoder)
        # With the features of the pre-trained CLIP, so that the head is the same if the adapters are removed later.
        gamma = settings.gamma or median_gamma(images.features if images.frozen is None else images.frozen)
        head = new_head(random_features(encoder, settings, gamma), encoder, settings, undecided=images.frozen is not None)
    if start.adapted is not None:
        head = solved_head.moved(head, start.adapted, images.features)
    return solved_head.add(head, images, logits_over(encoder, settings)(texts))


def new_head(fourier: RandomFeatures, encoder: Encoder, settings: Settings, *, undecided: bool = False) -> SolvedHead:
    """A head that has learned nothing, for a model with these settings; ``undecided`` while adapters may still be removed."""
    keeps_learning = settings.adapt in ("always", "auto") and settings.epochs != 0
    return SolvedHead.empty(
        fourier,
        encoder.backbone.device,
        per_class=settings.bank_per_class if keeps_learning else 0,
        undecided=undecided,
        class_balance=settings.class_balance,
        text_weight=settings.text_weight,
    )


def random_features(encoder: Encoder, settings: Settings, gamma: float) -> RandomFeatures:
    """The random features of a new model, for the representation that the encoder uses."""
    dim, drawn = encoder.backbone.image_dim(encoder.representation), (gamma, settings.seed, settings.kernel)
    return RandomFeatures(dim, settings.features, *drawn, encoder.representation)


def chosen_representation(images: Images, encoder: Encoder) -> Images:
    """The images of the first task, encoded in both representations, in the one that is chosen, which the encoder uses now."""
    dim, frozen = encoder.backbone.feature_dim, images.frozen
    encoder.representation = choose_representation(images.features if frozen is None else frozen, images.labels, dim)
    part = partial(part_of_both, representation=encoder.representation, dim=dim)
    return replace(images, features=part(images.features), frozen=None if frozen is None else part(frozen))


def image_marks(pixels: PreparedImages) -> Callable[[], Tensor]:
    """Record the fingerprints of images when they are encoded. Returns a function that gives those of all images ``(n,)`` after
    all processes have encoded theirs.
    """
    marks = pixels.record_marks()
    return lambda: parallel.gather_rows(parallel.shard(marks))


def frozen_features(encoder: Encoder, pixels: PreparedImages) -> Tensor:
    """Features ``(n, d)`` of images with the pre-trained CLIP, the same in all processes. Raises ``InputError`` if one is not
    finite.
    """
    with without_adapters(encoder.backbone):
        features = encoder.images(pixels, shared=True)
    check_finite(features)
    return features


def marked_images(encoder: Encoder, pixels: PreparedImages, labels: Tensor | None = None, *, frozen: Tensor | None) -> Images:
    """Images with their features, the fingerprints of their pixels and their labels, or label 0; the same in all processes.

    Args:
        encoder: The adapted CLIP.
        pixels: The images.
        labels: Their classes ``(n,)``.
        frozen: Their features with the pre-trained CLIP, if it is undecided whether the adapters stay.

    Raises:
        InputError: If a feature is not finite.
    """
    marks = image_marks(pixels)
    features = encoder.images(pixels, shared=True)
    check_finite(features)
    own = marks().to(features.device)
    return Images(own, torch.zeros_like(own) if labels is None else labels.to(features.device), features, frozen)


def logits_over(encoder: Encoder, settings: Settings) -> LogitsOver:
    """The text branch of a model, over any classes. If it predicts with the head alone, all logits are zero, and the head is
    weighed alone.
    """
    device = encoder.backbone.device
    if settings.branches == "image":
        return lambda texts: lambda features: features.new_zeros(len(features), len(texts))

    @torch.no_grad()
    def logits(features: Tensor, texts: Sequence[str]) -> Tensor:
        return encoder.logits(features.to(device), texts)

    return lambda texts: partial(logits, texts=texts)
