"""Zero-shot retention: accuracy of the text branch on data that the stream never trains on (docs/method.md 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mgclip.clip.encoder import Encoder
from mgclip.clip.pixels import MemoryBudget
from mgclip.experiment.measured_images import MeasuredImages
from mgclip.experiment.schemas import Retained
from mgclip.method.baselines.make import Learner
from mgclip.stream.data import Dataset
from mgclip.stream.datasets import load_dataset

LOGITS_AT_ONCE = 4096
"""Images compared with all class texts at a time. It bounds memory if there are many classes."""


@dataclass(frozen=True)
class RetentionSet:
    """A data set that is never trained on, with its images prepared once for all methods."""

    data: Dataset
    images: MeasuredImages


def load_retention_sets(paths: Mapping[str, str | None], *, test_per_class: int) -> dict[str, Dataset]:
    """Load the test images of data sets, each from its path or, if that is None, from the default place.

    ``test_per_class`` applies to generated data sets. Raises ``InputError`` if a data set cannot be loaded.
    """
    return {
        name: load_dataset(name, path=path, train_per_class=1, test_per_class=test_per_class, test_only=True)
        for name, path in paths.items()
    }


def prepare_retention_sets(sets: Mapping[str, Dataset], encoder: Encoder, *, keep_bytes: int) -> dict[str, RetentionSet]:
    """Prepare the test images of data sets, at most ``keep_bytes`` of them in memory."""
    room = MemoryBudget(keep_bytes)
    return {name: RetentionSet(data, MeasuredImages(encoder.pixels(data.test.images, room))) for name, data in sets.items()}


@torch.no_grad()
def zero_shot_accuracy(learner: Learner, measured: RetentionSet) -> float:
    """Share of the test images that the text branch assigns to the right class, among all classes of the data set."""
    features = measured.images.features(learner)
    names, labels = measured.data.class_names, torch.from_numpy(measured.data.test.labels)
    right = 0
    for part, expected in zip(features.split(LOGITS_AT_ONCE), labels.split(LOGITS_AT_ONCE), strict=True):
        right += int((learner.text_logits(part, names).argmax(1).cpu() == expected).sum())
    return right / len(labels)


def retention(learner: Learner, sets: Mapping[str, RetentionSet], untuned: Mapping[str, float]) -> dict[str, Retained]:
    """For each data set: accuracy now, accuracy of the pre-trained CLIP, and the drop between them."""
    result: dict[str, Retained] = {}
    for name, part in sets.items():
        accuracy = zero_shot_accuracy(learner, part)
        result[name] = {"accuracy": accuracy, "untuned": untuned[name], "drop": untuned[name] - accuracy}
    return result
