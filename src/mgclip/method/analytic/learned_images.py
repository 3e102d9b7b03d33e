"""Images as a solved head keeps them: fingerprints and classes of all, features of a sample (docs/method.md 10, 11)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

SAMPLE = 4096
"""Images whose features are kept, to weigh both branches by their leave-one-out scores."""


@dataclass(frozen=True)
class Images:
    """Images of known classes.

    Attributes:
        marks: Fingerprints of their pixels ``(n,)``.
        labels: Their classes ``(n,)``.
        features: Their features ``(n, d)``.
        frozen: Their features with the pre-trained CLIP ``(n, d)``, while it is undecided whether the adapters stay.
    """

    marks: Tensor
    labels: Tensor
    features: Tensor
    frozen: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Images:
        """The images on a device."""
        return self._changed(lambda part: part.to(device))

    def take(self, rows: Tensor) -> Images:
        """Some of them, by position or mask."""
        return self._changed(lambda part: part[rows])

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Images:
        frozen = None if self.frozen is None else change(self.frozen)
        return Images(change(self.marks), change(self.labels), change(self.features), frozen)

    def plus(self, other: Images) -> Images:
        """Both together."""
        frozen = None
        if self.frozen is not None and other.frozen is not None:
            frozen = torch.cat([self.frozen, other.frozen])
        marks, labels = torch.cat([self.marks, other.marks]), torch.cat([self.labels, other.labels])
        return Images(marks, labels, torch.cat([self.features, other.features]), frozen)

    def without_features(self) -> Images:
        """Only fingerprints and labels."""
        return replace(self, features=self.features[:, :0], frozen=None)

    def sampled(self) -> Images:
        """The ``SAMPLE`` images with the smallest fingerprints, in their order."""
        return self.take(torch.argsort(self.marks, stable=True)[:SAMPLE])

    def copies(self) -> Tensor:
        """How many of the images are each image in its class ``(n,)``: 1 if it has no copy there."""
        if len(self.marks.unique()) == len(self):
            return torch.ones_like(self.labels)
        keys = torch.stack([self.marks, self.labels], dim=1)
        _, places, numbers = keys.unique(dim=0, return_inverse=True, return_counts=True)
        found: Tensor = numbers[places]
        return found

    def minus(self, removed: Images) -> Images:
        """The images without those of the same fingerprints and classes; of equal ones, as many as are removed."""
        left: dict[tuple[int, int], int] = {}
        for key in zip(removed.marks.tolist(), removed.labels.tolist(), strict=True):
            left[key] = left.get(key, 0) + 1
        kept = []
        for row, key in enumerate(zip(self.marks.tolist(), self.labels.tolist(), strict=True)):
            if left.get(key, 0):
                left[key] -= 1
            else:
                kept.append(row)
        return self.take(self.index(kept))

    def without_class(self, label: int) -> Images:
        """The images of all other classes; later classes move up."""
        kept = self.take(self.labels != label)
        return replace(kept, labels=kept.labels - (kept.labels > label).long())

    def labels_of(self, marks: Tensor) -> list[list[int]]:
        """The classes of each image with one of these fingerprints; several if it was learned several times, none if never."""
        classes: dict[int, list[int]] = {}
        for mark, label in zip(self.marks.tolist(), self.labels.tolist(), strict=True):
            classes.setdefault(mark, []).append(label)
        return [classes.get(mark, []) for mark in marks.tolist()]

    def index(self, rows: Sequence[int]) -> Tensor:
        """Numbers as a tensor, on the device of the images."""
        return torch.tensor(rows, dtype=torch.long, device=self.labels.device)
