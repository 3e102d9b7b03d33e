"""Measure a model on image files whose classes are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgclip.clip.pixels import MemoryBudget, PreparedImages
from mgclip.errors import InputError
from mgclip.images import find_unreadable_images
from mgclip.method.gap import Gap, similarities
from mgclip.method.learner import MGCLIP


@dataclass(frozen=True)
class LabelledImages:
    """Images and the names of their classes. They are opened once, and encoded again after the weights change."""

    pixels: PreparedImages
    truth: tuple[str, ...]

    @classmethod
    def of(cls, model: MGCLIP, images: Mapping[str, Sequence[Path]], keep_bytes: int | MemoryBudget) -> LabelledImages:
        """Make them from image files by class, with memory for the transformed images."""
        files, labels = flatten(images)
        return cls(model.encoder.pixels(files, keep_bytes), tuple(labels))

    @classmethod
    def readable(
        cls, model: MGCLIP, images: Mapping[str, Sequence[Path]], keep_bytes: int | MemoryBudget
    ) -> tuple[LabelledImages, int]:
        """Make them without the images that have become unreadable, and return the number of these.

        All images are opened now; those that fit into memory are kept.
        """
        labelled = cls.of(model, images, keep_bytes)
        try:
            for part in torch.arange(len(labelled)).split(model.encoder.batch_size):
                labelled.pixels.batch(part)
        except InputError:
            bad = {file for own in images.values() for file in (own[index] for index in find_unreadable_images(own))}
            left = {name: [file for file in own if file not in bad] for name, own in images.items()}
            return cls.of(model, left, keep_bytes), len(bad)
        return labelled, 0

    def __len__(self) -> int:
        return len(self.truth)

    def features(self, model: MGCLIP) -> Tensor:
        """Their features ``(n, d)`` with the current weights of the model."""
        return model.encoder.images(self.pixels, shared=True)


def flatten(images: Mapping[str, Sequence[Path]]) -> tuple[list[Path], list[str]]:
    """The files of all classes, and the class of each file."""
    return [file for own in images.values() for file in own], [name for name, own in images.items() for _ in own]


def accuracy(found: Sequence[str] | NDArray[Any], truth: Sequence[str]) -> float | None:
    """Share of correct predictions; None if there are none."""
    return float(np.mean(np.asarray(found) == np.asarray(truth))) if len(truth) else None


def text_accuracy(model: MGCLIP, features: Tensor, truth: Sequence[str], texts: Mapping[str, str]) -> float | None:
    """Accuracy of the text branch alone.

    Args:
        model: The model.
        features: Features of the images, ``(n, d)``.
        truth: The class of each image.
        texts: The candidate classes, and what prompts call them.

    Returns:
        A share of 1; None if there are no images.
    """
    if not truth:
        return None
    names = list(texts)
    best = model.text_logits(features, [texts[name] for name in names]).argmax(1).tolist()
    return accuracy([names[label] for label in best], truth)


def gap_of(model: MGCLIP, features: Tensor, truth: Sequence[str], texts: Mapping[str, str]) -> Gap | None:
    """Modality gap of images (docs/method.md 3), averaged over images; None with a single class or without images.

    The arguments are those of ``text_accuracy``.
    """
    names = list(texts)
    if len(names) < 2 or not truth:
        return None
    places = {name: place for place, name in enumerate(names)}
    labels = torch.tensor([places[name] for name in truth], device=features.device)
    own, others = similarities(model.text_logits(features, [texts[name] for name in names]), labels)
    return Gap(float(own.mean()), float(others.mean()))
