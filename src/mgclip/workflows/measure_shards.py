"""Measure a model on the images of test shards. Each shard is read once, by one process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mgclip.clip import parallel
from mgclip.method.learner import MGCLIP
from mgclip.method.shards.reader import ImageShard, ShardReader
from mgclip.names import indices_of
from mgclip.workflows.branches import BranchAccuracies
from mgclip.workflows.note import NOT_MEASURED, Accuracies, TestImages


@dataclass(frozen=True)
class ShardAccuracies:
    """What was measured on test shards.

    Attributes:
        branches: The accuracies of the model and of each branch, on all images.
        accuracy: The accuracies on the classes that were just learned and on earlier ones.
        images: The numbers of their images.
        copies: How many of the images the model has learned.
        unknown: The number of images of each class that the model does not know. They are not measured.
        skipped: What could not be read, and why.
    """

    branches: BranchAccuracies
    accuracy: Accuracies
    images: TestImages
    copies: int
    unknown: Counter[str]
    skipped: list[tuple[str, str]]


def measure_shards(model: MGCLIP, shards: Sequence[ImageShard], learned: Collection[str], *, skip: bool) -> ShardAccuracies:
    """Measure the accuracies on the images of shards whose classes the model knows. Each process reads its share.

    Args:
        model: The model.
        shards: The shards, the same in all processes.
        learned: The classes that were just learned; all others are earlier ones.
        skip: Whether to leave out what cannot be read, instead of raising an error.
    """
    rank, processes = parallel.rank_and_world_size()
    assert model.solved is not None
    marks, just_learned = model.solved.learned.marks, np.isin(model.class_names, list(learned))
    sums = np.zeros((2, 5), dtype=np.int64)  # of earlier and of new classes: images; right by model, text and head; learned
    unknown: Counter[str] = Counter()
    skipped: list[tuple[str, str]] = []
    for shard in shards[rank::processes]:
        reader, before = ShardReader(model.encoder, skip), int(sums[:, 0].sum())
        for images, names in reader.encoded(shard):
            found = indices_of(names, model.class_names)
            unknown.update(name for name, place in zip(names, found, strict=True) if place is None)
            rows = [row for row, place in enumerate(found) if place is not None]
            if not rows:
                continue
            truth = np.array([found[row] for row in rows])
            answers = model.classify(images.features[rows])
            best = answers.labels, answers.text_probabilities.argmax(1), answers.head_scores.argmax(1)
            known = torch.isin(images.marks[rows], marks).cpu().numpy()
            counted = np.stack([np.ones(len(rows)), *(each == truth for each in best), known], axis=1).astype(np.int64)
            for kind in range(2):
                sums[kind] += counted[just_learned[truth] == kind].sum(0)
        skipped += reader.left_out(int(sums[:, 0].sum()) - before, "measured")
    sums = np.sum(parallel.gather_items([sums]), axis=0)
    old, new, both = sums[0], sums[1], sums.sum(0)
    branches: BranchAccuracies = {
        "images": int(both[0]),
        "model": _share(both[1], both[0]),
        "text": _share(both[2], both[0]),
        "head": _share(both[3], both[0]) if model.settings.uses_head else None,
    }
    accuracy: Accuracies = {
        "new": _share(new[1], new[0]),
        "old": _share(old[1], old[0]),
        "old_before": None,
        "all": branches["model"],
    }
    in_all = sum(parallel.gather_items([unknown]), Counter[str]())
    number: TestImages = {"new": int(new[0]), "old": int(old[0]), "gone": 0}
    accuracy = accuracy if len(model.class_names) > 1 else NOT_MEASURED
    return ShardAccuracies(branches, accuracy, number, int(both[4]), in_all, parallel.gather_items(skipped))


def _share(right: int, images: int) -> float | None:
    return float(right / images) if images else None
