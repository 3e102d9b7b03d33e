"""A bank of old image features, so that adapters can continue to learn while the solved head stays valid.

The sums of the solved head belong to one state of the adapters. When the adapters have changed, the old images are gone, but a
few features of each class are kept: the centres of k-means, each with the number of images it stands for. A map, fitted to the
images of the new task before and after the change, moves them to where the new adapters would put them. The sums are computed
again from the moved features.

Source of the idea, with a linear map: Gomez-Villa et al., *Exemplar-free Continual Representation Learning via Learnable Drift
Compensation*, ECCV 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.method.analytic.random_features import RandomFeatures
from mgclip.method.analytic.sums import Sums

RIDGE = 1.0
"""Ridge of the drift map. A random feature vector has a length of about 1.4, whatever its width."""

Drift = Callable[[Tensor], Tensor]
"""Where features go when the adapters change: ``(n, d)`` -> ``(n, d)``, normalised."""


@dataclass(frozen=True)
class Bank:
    """Features of all learned classes, each standing for a number of images.

    Attributes:
        features: Normalised features ``(k, d)`` in half precision.
        counts: The images that each stands for, ``(k,)``.
        classes: The class of each, ``(k,)``, in ascending order.
    """

    features: Tensor
    counts: Tensor
    classes: Tensor

    @classmethod
    def empty(cls, dim: int, device: torch.device | str = "cpu") -> Bank:
        """A bank without classes, for features of length ``dim``."""
        features = torch.empty(0, dim, dtype=torch.float16, device=device)
        return cls(features, features.new_empty(0, dtype=torch.float64), features.new_empty(0, dtype=torch.long))

    def to(self, device: torch.device) -> Bank:
        """The bank on a device."""
        return Bank(self.features.to(device), self.counts.to(device), self.classes.to(device))

    def plus(self, features: Tensor, labels: Tensor, *, per_class: int) -> Bank:
        """The bank with more images, of new classes and of known ones.

        Args:
            features: Normalised features of the images ``(n, d)``.
            labels: Their classes ``(n,)``.
            per_class: The largest number of features of a class.
        """
        return self._with(features, labels.new_ones(len(labels), dtype=torch.float64), labels, per_class)

    def minus(self, features: Tensor, labels: Tensor) -> Bank:
        """The bank without some of its images: each is taken from the nearest feature of its class.

        This is exact for an image that has a feature of its own. A centre stays where it is and stands for one image less.
        """
        counts = self.counts.clone()
        for feature, label in zip(features.double(), labels.tolist(), strict=True):
            own = torch.nonzero((self.classes == label) & (counts > 0))[:, 0]
            counts[own[(self.features[own].double() @ feature).argmax()]] -= 1
        kept = counts > 0
        return Bank(self.features[kept], counts[kept], self.classes[kept])

    def merged(self, other: Bank, places: Sequence[int], *, per_class: int) -> Bank:
        """The features of both banks; class i of ``other`` is class ``places[i]`` of the result."""
        index = torch.tensor(places, dtype=torch.long, device=self.classes.device)
        return self._with(other.features, other.counts, index[other.classes], per_class)

    def placed(self, places: Sequence[int | None], *, per_class: int) -> Bank:
        """The bank with other positions of its classes.

        Args:
            places: The new position of each class, or None to remove it. Two classes with the same position become one.
            per_class: The largest number of features of a class.
        """
        index = torch.tensor([-1 if place is None else place for place in places]).to(self.classes)
        classes = index[self.classes]
        kept = classes >= 0
        empty = Bank.empty(self.features.shape[1], self.features.device)
        return empty._with(self.features[kept], self.counts[kept], classes[kept], per_class)

    def moved(self, drift: Drift) -> Bank:
        """The bank with its features where the map puts them."""
        return Bank(drift(F.normalize(self.features.double(), dim=-1)).half(), self.counts, self.classes)

    def standing(self, features: Tensor, labels: Tensor) -> Tensor:
        """The features ``(n, d)`` that stand for images with these features and labels: the nearest ones of their classes."""
        found = features.double()
        for label in labels.unique().tolist():
            own, held = labels == label, self.features[self.classes == label].double()
            found[own] = F.normalize(held, dim=-1)[(found[own] @ held.T).argmax(1)]
        return found

    def sums(self, fourier: RandomFeatures, *, class_balance: bool = True) -> Sums:
        """The sums over the images of the bank, as if each image had the feature that stands for it."""
        empty = Sums.empty(fourier.width + 1, self.features.device, class_balance=class_balance)
        if len(self.classes) == 0:
            return empty
        phi = fourier(F.normalize(self.features.double(), dim=-1))
        weighted, counts = self.counts[:, None] * phi, self.classes.bincount(self.counts)
        targets = phi.new_zeros(phi.shape[1], len(counts)).index_add_(1, self.classes, weighted.T)
        return replace(empty, gram=phi.T @ weighted, targets=targets, counts=counts)

    def _with(self, features: Tensor, counts: Tensor, classes: Tensor, per_class: int) -> Bank:
        """The bank with more features; a class that has too many is replaced by the centres of its features."""
        given = zip((self.features, self.counts, self.classes), (features, counts, classes), strict=True)
        features, counts, classes = (torch.cat([known, more.to(known)]) for known, more in given)
        parts = []
        for label in classes.unique().tolist():
            own = classes == label
            held, images = features[own], counts[own]
            if len(held) > per_class:
                held, images = centres(held, images, per_class)
            parts.append((held, images, torch.full_like(images, label, dtype=torch.long)))
        return Bank(*map(torch.cat, zip(*parts, strict=True))) if parts else self


def centres(features: Tensor, counts: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """At most ``number`` normalised centres of k-means, in half precision, and the images of each.

    Args:
        features: Features ``(n, d)``, in any order: the centres do not depend on it.
        counts: The images that each stands for ``(n,)``.
        number: The number of centres.
    """
    from sklearn.cluster import KMeans

    distinct, which = features.double().cpu().unique(dim=0, return_inverse=True)
    weights = torch.zeros(len(distinct), dtype=torch.float64).index_add(0, which, counts.double().cpu())
    if len(distinct) > number:
        means = KMeans(number, n_init=1, random_state=0).fit(distinct.numpy(), sample_weight=weights.numpy())
        which = torch.from_numpy(means.labels_).long()
        distinct = torch.from_numpy(means.cluster_centers_)
        weights = torch.zeros(number, dtype=torch.float64).index_add(0, which, weights)
    return F.normalize(distinct, dim=-1).to(features.device, torch.float16), weights.to(counts)


def drift_map(before: Tensor, after: Tensor, fourier: RandomFeatures) -> Drift:
    """The map that moves features X from before a change of the adapters to Y from after it.

    u -> normalise(u + phi(u)^T (Phi^T Phi + I)^-1 Phi^T (Y - X)), with phi the random features of the head and Phi those of X:
    ridge regression of the difference. It follows the neighbours of u, as kernel regression does, at a cost that grows with the
    number of images only once.

    Args:
        before: Normalised features X of the same images ``(n, d)``.
        after: Normalised features Y ``(n, d)``.
        fourier: The random features of the head.
    """
    x, y = before.double(), after.double()
    phi = fourier(x)
    system = phi.T @ phi
    system.diagonal().add_(RIDGE)
    moves = torch.cholesky_solve(phi.T @ (y - x), torch.linalg.cholesky(system))
    return lambda features: F.normalize(features.double() + fourier(features) @ moves, dim=-1)
