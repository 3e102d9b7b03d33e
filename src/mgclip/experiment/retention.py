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
class HeldOut:
    """A data set that is never trained on, with its images prepared once for all methods."""

    data: Dataset
    images: MeasuredImages


def load_held_out(paths: Mapping[str, str | None], *, test_per_class: int) -> dict[str, Dataset]:
    """Load the test images of data sets, each from its path or, if that is None, from the default place.

    ``test_per_class`` applies to data sets that are drawn. Raises ``InputError`` if a data set cannot be loaded.
    """
    return {
        name: load_dataset(name, path=path, train_per_class=1, test_per_class=test_per_class, test_only=True)
        for name, path in paths.items()
    }


def prepare_held_out(sets: Mapping[str, Dataset], encoder: Encoder, *, keep_bytes: int) -> dict[str, HeldOut]:
    """Prepare the test images of data sets, at most ``keep_bytes`` of them in memory."""
    room = MemoryBudget(keep_bytes)
    return {name: HeldOut(data, MeasuredImages(encoder.pixels(data.test.images, room))) for name, data in sets.items()}


@torch.no_grad()
def zero_shot_accuracy(learner: Learner, held_out: HeldOut) -> float:
    """Share of the test images that the text branch assigns to the right class, among all classes of the data set."""
    features = held_out.images.features(learner)
    names, labels = held_out.data.class_names, torch.from_numpy(held_out.data.test.labels)
    right = 0
    for part, expected in zip(features.split(LOGITS_AT_ONCE), labels.split(LOGITS_AT_ONCE), strict=True):
        right += int((learner.text_logits(part, names).argmax(1).cpu() == expected).sum())
    return right / len(labels)


def retention(learner: Learner, held_out: Mapping[str, HeldOut], untuned: Mapping[str, float]) -> dict[str, Retained]:
    """For each data set: accuracy now, accuracy of the pre-trained CLIP, and the drop between them."""
    result: dict[str, Retained] = {}
    for name, part in held_out.items():
        accuracy = zero_shot_accuracy(learner, part)
        result[name] = {"accuracy": accuracy, "untuned": untuned[name], "drop": untuned[name] - accuracy}
    return result
