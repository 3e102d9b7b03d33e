"""What a solved classifier keeps of its images: sums over them (docs/method.md 10).

Neither the order of images nor their split into tasks changes a sum, a known class grows by addition, and an image can be taken
out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.clip import parallel

CHUNK = 4096
"""Images added to the sums at a time."""

COLUMNS = 1024
"""Classes whose columns are computed at a time, so that no other matrix is as large as the sums."""


@dataclass(frozen=True)
class Sums:
    """All that the classifier keeps of its images, in double precision.

    Attributes:
        gram: Sum of phi phi^T over all images, ``(m, m)``.
        targets: Sum of phi over the images of each class, ``(m, c)``.
        counts: Images of each class, ``(c,)``.
        forgotten: Images of forgotten classes whose scatter is still in ``gram``.
        class_balance: Whether every class weighs the same, or every image.
    """

    gram: Tensor
    targets: Tensor
    counts: Tensor
    forgotten: float = 0.0
    class_balance: bool = True

    @classmethod
    def empty(cls, size: int, device: torch.device | str = "cpu", *, class_balance: bool = True) -> Sums:
        """Sums over no images.

        Args:
            size: The length of their features.
            device: Where the sums are.
            class_balance: Whether every class weighs the same, or every image.
        """
        zeros = torch.zeros(size, size, dtype=torch.float64, device=device)
        return cls(zeros, zeros[:, :0], zeros[0, :0], class_balance=class_balance)

    def to(self, device: torch.device) -> Sums:
        """The sums on a device."""
        gram, targets, counts = self.gram.to(device), self.targets.to(device), self.counts.to(device)
        return replace(self, gram=gram, targets=targets, counts=counts)

    def plus(self, phi: Tensor, labels: Tensor) -> Sums:
        """The sums with more images.

        Args:
            phi: Features of the images ``(n, m)``.
            labels: Their classes ``(n,)``; a class that is new follows the known ones.
        """
        if len(labels) == 0:
            return self
        grown = self.padded(int(labels.max()) + 1)
        grown = replace(grown, gram=grown.gram.clone(), targets=grown.targets.clone(), counts=grown.counts.clone())
        grown.add(phi, labels)
        return grown

    def add(self, phi: Tensor, labels: Tensor) -> None:
        """Add images of known classes to these sums in place; ``plus`` adds them to a copy, and has the same arguments."""
        self.gram.addmm_(phi.T, phi)
        self.targets.index_add_(1, labels, phi.T)
        self.counts.add_(labels.bincount(minlength=len(self.counts)))

    def padded(self, classes: int) -> Sums:
        """The sums over at least this number of classes; those that are added have no image."""
        more = max(0, classes - len(self.counts))
        return replace(self, targets=F.pad(self.targets, (0, more)), counts=F.pad(self.counts, (0, more)))

    def merged(self, other: Sums, places: Sequence[int]) -> Sums:
        """The sums of both; class i of ``other`` is class ``places[i]`` of the result, new classes last."""
        index = torch.tensor(places, dtype=torch.long, device=self.gram.device)
        classes = max(len(self.counts), max(places, default=-1) + 1)
        targets = self.targets.new_zeros(len(self.gram), classes)  # the only copy of the sums of all classes
        targets[:, : len(self.counts)] = self.targets
        targets.index_add_(1, index, other.targets)
        counts = F.pad(self.counts, (0, classes - len(self.counts))).index_add(0, index, other.counts)
        gram, forgotten = self.gram + other.gram, self.forgotten + other.forgotten
        return replace(self, gram=gram, targets=targets, counts=counts, forgotten=forgotten)

    def negative(self) -> Sums:
        """The sums with the opposite sign, to take images out by adding."""
        return replace(self, gram=-self.gram, targets=-self.targets, counts=-self.counts, forgotten=-self.forgotten)

    def without_class(self, label: int) -> Sums:
        """The sums without a class: its mean and count are gone, and its scatter stays in the one that all classes share."""
        total, images = self.targets[:, label], self.counts[label]
        left = replace(self, gram=self.gram - torch.outer(total, total) / images, forgotten=self.forgotten + images.item())
        return left.without_column(label)

    def without_column(self, label: int) -> Sums:
        """The sums without the mean and the count of a class, whose images were taken out."""
        kept = torch.arange(len(self.counts), device=self.counts.device) != label
        return replace(self, targets=self.targets[:, kept], counts=self.counts[kept])

    def all_processes(self) -> Sums:
        """The sums over the images of all processes, the same in each."""
        gram, targets, counts = parallel.summed_over_processes((self.gram, self.targets, self.counts))
        return replace(self, gram=gram, targets=targets, counts=counts)

    @property
    def images(self) -> float:
        """The number of images whose scatter is in ``gram``."""
        return self.counts.sum().item() + self.forgotten

    @property
    def share(self) -> float:
        """C / n: the weight of an image if all images weigh the same, and all together as much as with class balance."""
        return len(self.counts) / self.images

    @property
    def scale(self) -> Tensor:
        """What turns the columns of ``targets`` into the right-hand side ``(c,)``: with class balance, into class means."""
        return 1 / self.counts if self.class_balance else torch.full_like(self.counts, self.share)

    def right_hand_side(self) -> Iterator[Tensor]:
        """The right-hand side of the equations, ``COLUMNS`` classes at a time."""
        for targets, scale in zip(self.targets.split(COLUMNS, 1), self.scale.split(COLUMNS), strict=True):
            yield targets * scale

    def matrices(self) -> tuple[Tensor, Tensor]:
        """The normal matrix to solve for the weights, before the ridge is added, and the sum of r r^T over the columns r of the
        right-hand side; both ``(m, m)``.

        With class balance every class weighs the same. With n images, m_c the mean and n_c the count of class c, the scatter
        within classes is S = G - sum of n_c m_c m_c^T. The normal matrix is (C / n) S + sum of m_c m_c^T: classes share one
        scatter, and each has one vote. Weights of 1 / n_c on every image would need the images again whenever a class grows;
        this needs the sums only.
        """
        normal, outer, scale = self.share * self.gram, torch.zeros_like(self.gram), self.scale
        weights = scale.square() - self.share * scale if self.class_balance else torch.zeros_like(scale)
        for targets, weight, factor in zip(*(part.split(COLUMNS, -1) for part in (self.targets, weights, scale)), strict=True):
            if bool((factor == factor[0]).all()):  # one product for both, which are most of the work with many classes
                product = targets @ targets.T
                normal.add_(product, alpha=weight[0].item())
                outer.add_(product, alpha=factor[0].item() ** 2)
            else:
                normal.addmm_(targets * weight, targets.T)
                outer.addmm_(targets * factor.square(), targets.T)
        return normal, outer


def accumulate(sums: Sums, expand: Callable[[Tensor], Tensor], features: Tensor, labels: Tensor, *, sign: float = 1.0) -> Sums:
    """The sums with more images, or without them. Each process adds its share, and all processes get the sums over all images.

    Args:
        sums: The sums before.
        expand: The random features: ``(n, d)`` -> ``(n, m)``.
        features: Features of the images ``(n, d)``.
        labels: Their classes ``(n,)``.
        sign: 1 adds the images, -1 takes them out again.
    """
    if len(labels) == 0:
        return sums
    present, local = labels.unique(return_inverse=True)
    own = Sums.empty(len(sums.gram), sums.gram.device).padded(len(present))
    for rows in parallel.shard(torch.arange(len(labels), device=labels.device)).split(CHUNK):
        own.add(expand(features[rows]), local[rows])
    added = own.all_processes()
    return sums.merged(added if sign > 0 else added.negative(), present.tolist())
