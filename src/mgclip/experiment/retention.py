"""Zero-shot retention: what the text branch alone still knows of data the stream never trained on (docs/method.md 9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from mgclip.clip.encoder import Encoder
from mgclip.clip.pixels import Pixels, Room
from mgclip.errors import InputError
from mgclip.method.baselines.make import Learner
from mgclip.stream.data import Dataset, Split
from mgclip.stream.datasets import load_dataset

LOGITS_AT_ONCE = 4096
"""Images compared with all class texts at a time: bounds memory where there are many classes."""


@dataclass(frozen=True)
class HeldOut:
    """One data set that is never trained on, its images prepared once for all methods."""

    data: Dataset
    pixels: Pixels


def load_held_out(
    paths: Mapping[str, str | None],
    encoder: Encoder,
    *,
    test_per_class: int,
    keep_bytes: int,
    readable: Callable[[str, Split], Split] = lambda name, split: split,
) -> dict[str, HeldOut]:
    """Load the named data sets' test images, those that are ``readable``.

    Raises ``InputError`` where a data set cannot be had or has no test image.
    """
    held_out, room = {}, Room(keep_bytes)
    for name, path in paths.items():
        data = load_dataset(name, path=path, train_per_class=1, test_per_class=test_per_class, test_only=True)
        data = replace(data, test=readable(name, data.test))
        if len(data.test.labels) == 0:
            raise InputError(f"The data set {name} has no test image to measure retention on.")
        held_out[name] = HeldOut(data, encoder.pixels(data.test.images, room))
    return held_out


@torch.no_grad()
def zero_shot_accuracy(learner: Learner, held_out: HeldOut) -> float:
    """Share of the test images whose class the text branch finds among all of that data set's classes."""
    features = learner.encoder.images(held_out.pixels, shared=True)
    names, labels = held_out.data.class_names, torch.from_numpy(held_out.data.test.labels)
    right = 0
    for part, own in zip(features.split(LOGITS_AT_ONCE), labels.split(LOGITS_AT_ONCE), strict=True):
        right += int((learner.text_logits(part, names).argmax(1).cpu() == own).sum())
    return right / len(labels)


def retention(
    learner: Learner, held_out: Mapping[str, HeldOut], untuned: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """For each data set: accuracy now, that of the un-tuned CLIP, and the drop between them, as shares of 1."""
    result = {}
    for name, part in held_out.items():
        accuracy = zero_shot_accuracy(learner, part)
        result[name] = {"accuracy": accuracy, "untuned": untuned[name], "drop": untuned[name] - accuracy}
    return result
