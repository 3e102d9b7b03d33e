"""One pass over shards: each image is read and encoded once, and added to sums (docs/method.md 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.encoder import Encoder
from mgclip.clip.representation import part_of_both
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.random_features import SAMPLE, RandomFeatures, median_gamma
from mgclip.method.analytic.representation import choose_representation
from mgclip.method.analytic.solved_head import SolvedHead
from mgclip.method.analytic.solving import random_features
from mgclip.method.analytic.sums import CHUNK
from mgclip.method.settings import Settings
from mgclip.method.shards.partial_sums import ShardSums, remove_parts, unused_number
from mgclip.method.shards.reader import ImageShard, ShardReader
from mgclip.method.shards.resume import identity, resumable
from mgclip.names import check_distinguishable, indices_of, not_among

OPENED = 50
"""The most shards from whose first images the width of the kernel and the representation are chosen."""


@dataclass(frozen=True)
class Reading:
    """How shards are read.

    Attributes:
        progress: The folder for partial sums; None saves none.
        skip: Whether to leave out what cannot be read, instead of raising an error.
        versions: For each shard, by name, a text that differs if it has changed.
    """

    progress: Path | None = None
    skip: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)

    def version(self, shard: ImageShard) -> str:
        """What identifies a shard and its content in partial sums."""
        return f"{shard.name}\0{self.versions.get(shard.name, '')}"


def sum_shards(
    shards: Sequence[ImageShard],
    head: SolvedHead | None,
    class_names: Sequence[str],
    encoder: Encoder,
    settings: Settings,
    reading: Reading,
) -> ShardSums:
    """Add up the images of shards, of which each process reads its share.

    Args:
        shards: The shards, the same in all processes.
        head: The head of the model so far; its images are not learned again. None for a new model.
        class_names: Its classes.
        encoder: The CLIP.
        settings: The settings of the model.
        reading: How the shards are read. Sums in its folder are resumed, even by another number of processes, if reading all
            shards now would give the same.

    Returns:
        The sums of this process.

    Raises:
        InputError: If an image or a shard cannot be read, unless such are skipped; or if two class names look alike.
    """
    rank, processes = parallel.rank_and_world_size()
    model, device = identity(head, class_names, encoder, settings), encoder.backbone.device
    done = resumable(reading.progress, model, [reading.version(shard) for shard in shards], device, skip=reading.skip)
    some = [] if head is not None else _shards_to_choose_from(shards, settings)
    chosen_from = [reading.version(shard) for shard in some]
    if head is not None:
        fourier = head.fourier
    elif done and all(part.chosen_from == chosen_from for part in done):
        fourier = features_of(done[0], encoder, settings)
    else:
        fourier = _choose_features(some, encoder, settings, reading)
    done = [part for part in done if (part.gamma, part.representation) == (fourier.gamma, fourier.representation)]
    own = ShardSums.empty(model, fourier, chosen_from, device)
    for part in done[rank::processes]:
        own.plus(part)
    finished = {version for part in done for version in part.shards}
    number = 0 if reading.progress is None else _replace_parts(own, reading.progress)
    known = None if head is None else head.learned.marks
    left = [shard for shard in shards if reading.version(shard) not in finished][rank::processes]
    for place, shard in enumerate(left, start=1):
        before = own.encoded
        _add_shard(own, shard, fourier, encoder, known, reading)
        # How many images there are is unknown before they are read, but shards of one data set are about equally large.
        encoder.backbone.expect((own.encoded - before) * (len(left) - place), batch=encoder.batch_size)
        check_distinguishable(not_among(own.names, class_names), class_names)
        own.shards.append(reading.version(shard))
        if reading.progress is not None:
            own.save(reading.progress, number)
    return own


def _replace_parts(own: ShardSums, folder: Path) -> int:
    """Save the sums that this process resumes, if there are any, as a new part, and return its number. The parts that were
    resumed are removed only when all processes have saved, so that nothing is lost if one is killed.
    """
    rank, _ = parallel.rank_and_world_size()
    # When these are exchanged, all processes have read all parts. One may not see the latest, and must not replace them either.
    first: int = max(parallel.gather_items([unused_number(folder)]))
    if own.shards:
        own.save(folder, first + rank)
    parallel.wait()
    if parallel.is_main():
        remove_parts(folder, below=first)
    return first + rank


def features_of(sums: ShardSums, encoder: Encoder, settings: Settings) -> RandomFeatures:
    """The random features of these sums. The encoder uses their representation from now on."""
    encoder.representation = sums.representation
    return random_features(encoder, settings, sums.gamma)


def _shards_to_choose_from(shards: Sequence[ImageShard], settings: Settings) -> Sequence[ImageShard]:
    """The shards, evenly spaced, from which a new model chooses what the settings leave open; none if they leave nothing open."""
    is_open = settings.gamma is None or settings.representation == "auto"
    return shards[:: -(-len(shards) // OPENED)] if is_open and shards else []


def _choose_features(some: Sequence[ImageShard], encoder: Encoder, settings: Settings, reading: Reading) -> RandomFeatures:
    """The random features of a new model. What the settings leave open, the width of the kernel and the representation, is chosen
    from the first images of ``some`` shards, which the first process reads.
    """
    encoder.representation = settings.encoded
    if settings.gamma is not None and settings.representation != "auto":
        return random_features(encoder, settings, settings.gamma)
    parts = [torch.empty(0, encoder.backbone.image_dim(encoder.representation), device=encoder.backbone.device)]
    names: list[str] = []
    if parallel.is_main():
        for shard in some:
            for images, labels in ShardReader(encoder, reading.skip).encoded(shard, most=-(-SAMPLE // len(some))):
                parts.append(images.features)
                names += labels
    features, names = parallel.gather_rows(torch.cat(parts)), parallel.gather_items(names)
    if settings.representation == "auto":
        classes = torch.tensor(indices_of(names, dict.fromkeys(names)), dtype=torch.long, device=features.device)
        dim = encoder.backbone.feature_dim
        encoder.representation = choose_representation(features, classes, dim) if names else "projected"
        features = part_of_both(features, encoder.representation, dim)
    return random_features(encoder, settings, settings.gamma or parallel.broadcast_float(median_gamma(features)))


def _add_shard(
    own: ShardSums, shard: ImageShard, fourier: RandomFeatures, encoder: Encoder, known: Tensor | None, reading: Reading
) -> None:
    """Add the images of a shard to the sums."""
    waiting: list[tuple[Images, list[str]]] = []
    reader, before = ShardReader(encoder, reading.skip), len(own.images)
    for images, names in reader.encoded(shard):
        new = torch.ones(len(images), dtype=torch.bool) if known is None else ~torch.isin(images.marks, known)
        own.known += int((~new).sum())
        waiting.append((images.take(new), [name for name, kept in zip(names, new.tolist(), strict=True) if kept]))
        if sum(len(part) for part, _ in waiting) >= CHUNK:
            _add(own, fourier, waiting)
            waiting = []
    _add(own, fourier, waiting)
    own.skipped += reader.left_out(len(own.images) - before, "learned")


def _add(own: ShardSums, fourier: RandomFeatures, waiting: Sequence[tuple[Images, Sequence[str]]]) -> None:
    """Add encoded images. Each part comes with the class names of its images."""
    named = [name for _, names in waiting for name in names]
    if not named:
        return
    names = list(dict.fromkeys(named))
    features = torch.cat([part.features for part, _ in waiting])
    labels = torch.tensor(indices_of(named, names), device=features.device)
    own.add(fourier(features), Images(torch.cat([part.marks for part, _ in waiting]), labels, features), names)
