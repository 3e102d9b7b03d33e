"""How well a model does on image files whose classes are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgclip.clip.pixels import PreparedImages
from mgclip.errors import InputError
from mgclip.images import unreadable
from mgclip.method.gap import similarities
from mgclip.method.learner import MGCLIP


@dataclass(frozen=True)
class LabelledImages:
    """Images of known classes, opened once and encoded as often as the weights change: ``truth`` names the class of each."""

    pixels: PreparedImages
    truth: tuple[str, ...]

    @classmethod
    def of(cls, model: MGCLIP, images: Mapping[str, Sequence[Path]]) -> LabelledImages:
        """From image files by class."""
        files = [file for own in images.values() for file in own]
        return cls(model.encoder.pixels(files), tuple(name for name, own in images.items() for _ in own))

    @classmethod
    def readable(cls, model: MGCLIP, images: Mapping[str, Sequence[Path]]) -> tuple[LabelledImages, int]:
        """The same without the images that cannot be read any more, and how many these are. All are opened now, and kept as far
        as there is room.
        """
        labelled = cls.of(model, images)
        try:
            for part in torch.arange(len(labelled)).split(model.encoder.batch_size):
                labelled.pixels.batch(part)
        except InputError:
            bad = {file for own in images.values() for file in (own[place] for place in unreadable(own))}
            left = {name: [file for file in own if file not in bad] for name, own in images.items()}
            return cls.of(model, left), len(bad)
        return labelled, 0

    def __len__(self) -> int:
        return len(self.truth)

    def features(self, model: MGCLIP) -> Tensor:
        """Their features ``(n, d)`` as the model's weights are now."""
        return model.encoder.images(self.pixels, shared=True)


def accuracy(found: Sequence[str] | NDArray[Any], truth: Sequence[str]) -> float | None:
    """Share of equal entries; None where there is nothing to compare."""
    return float(np.mean(np.asarray(found) == np.asarray(truth))) if len(truth) else None


def text_accuracy(model: MGCLIP, features: Tensor, truth: Sequence[str], texts: Mapping[str, str]) -> float | None:
    """Share of images ``(n, d)`` whose class the texts alone find, among the classes of ``texts`` (name -> what prompts say)."""
    if not truth:
        return None
    names = list(texts)
    best = model.text_logits(features, [texts[name] for name in names]).argmax(1).tolist()
    return accuracy([names[label] for label in best], truth)


def gap_of(model: MGCLIP, features: Tensor, truth: Sequence[str], texts: Mapping[str, str]) -> dict[str, float] | None:
    """Mean similarity of images ``(n, d)`` with their own class's text and with the other classes', as logits (docs/method.md 3);
    None where there is no other class.
    """
    names = list(texts)
    if len(names) < 2 or not truth:
        return None
    labels = torch.tensor([names.index(name) for name in truth], device=features.device)
    own, others = similarities(model.text_logits(features, [texts[name] for name in names]), labels)
    return {"positive": float(own.mean()), "negative": float(others.mean())}
