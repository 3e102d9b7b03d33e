"""The geometry of a CLIP's image and text features: measures of the modality gap from the literature (docs/gap.md).

The gap as the method measures it is in ``method/gap.py``. The measures here follow Liang et al., *Mind the Gap: Understanding the
Modality Gap in Multi-modal Contrastive Representation Learning*, NeurIPS 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgclip.method.gap import similarities


@dataclass(frozen=True)
class Geometry:
    """The measures of one set of images and texts. Similarities are cosines; times the logit scale they are the method's logits.

    Attributes:
        positive: Mean cosine of an image with the text of its class.
        negative: Mean cosine of an image with the texts of other classes.
        logit_scale: The logit scale of the CLIP.
        centroid_distance: Euclidean distance of the mean image and the mean text.
        image_cone: Mean cosine of two different images; near 1 in a narrow cone.
        text_cone: Mean cosine of two different texts.
        separability: Cross-validated balanced accuracy of a linear classifier of images against texts; 0.5 if they mix, NaN with
            fewer than four images or texts.
        accuracy: Zero-shot accuracy.
    """

    positive: float
    negative: float
    logit_scale: float
    centroid_distance: float
    image_cone: float
    text_cone: float
    separability: float
    accuracy: float


def cone(features: Tensor) -> float:
    """Mean cosine of two different rows of normalised features ``(n, d)``; NaN for fewer than two."""
    count = len(features)
    if count < 2:
        return float("nan")
    # The squared length of the sum is the sum of all pairwise cosines, including those of each row with itself.
    total = features.double().sum(0).square().sum().item()
    return (total - features.double().square().sum().item()) / (count * (count - 1))


def separability(images: Tensor, texts: Tensor) -> float:
    """Cross-validated balanced accuracy of a logistic regression of images ``(n, d)`` against texts ``(c, d)``."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    folds = min(5, len(images), len(texts))
    if folds < 4:
        return float("nan")
    points = torch.cat([images, texts]).cpu().numpy()
    modality = np.repeat([0, 1], [len(images), len(texts)])
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    model = LogisticRegression(C=100.0, class_weight="balanced", max_iter=2000)
    return float(cross_val_score(model, points, modality, cv=split, scoring="balanced_accuracy").mean())


def geometry(images: Tensor, labels: Tensor, texts: Tensor, *, logit_scale: float) -> Geometry:
    """Measure normalised image features ``(n, d)`` with labels ``(n,)``, and normalised text features ``(c, d)``."""
    cosines = images @ texts.T
    own, others = similarities(cosines, labels)
    return Geometry(
        positive=own.mean().item(),
        negative=others.mean().item(),
        logit_scale=logit_scale,
        centroid_distance=(images.mean(0) - texts.mean(0)).norm().item(),
        image_cone=cone(images),
        text_cone=cone(texts),
        separability=separability(images, texts),
        accuracy=(cosines.argmax(1) == labels).float().mean().item(),
    )


def projection(images: Tensor, texts: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Project images ``(n, d)`` and texts ``(c, d)`` onto a plane: ``(n, 2)`` and ``(c, 2)``.

    The axes are the principal axes of both together. Each modality has the same weight, so that a gap is visible.
    """
    together = torch.cat([images * (1 / len(images)) ** 0.5, texts * (1 / len(texts)) ** 0.5]).double()
    middle = (images.mean(0) + texts.mean(0)).double() / 2
    weights = torch.cat([torch.full((len(part), 1), (1 / len(part)) ** 0.5) for part in (images, texts)]).to(together)
    _, _, axes = torch.linalg.svd(together - weights * middle, full_matrices=False)
    plane = axes[:2].T
    return tuple(((part.double() - middle) @ plane).float().cpu().numpy() for part in (images, texts))  # type: ignore[return-value]
