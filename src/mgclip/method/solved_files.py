"""The solved head as tensors and a few numbers, for the files of a saved model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from mgclip.method.analytic import FourierFeatures, Sums
from mgclip.method.bank import Bank
from mgclip.method.calibration import Calibration
from mgclip.method.solved_head import Images, SolvedHead


def entry(head: SolvedHead) -> dict[str, Any]:
    """What the manifest records about a solved head."""
    drawn = {"dim": head.fourier.dim, "gamma": head.fourier.gamma}
    return {**drawn, "ridge": head.ridge, "calibration": asdict(head.calibration)}


def tensors(head: SolvedHead) -> dict[str, Tensor]:
    """A solved head as named tensors. Of the symmetric sum only one triangle is kept."""
    size = len(head.sums.gram)
    rows, columns = torch.tril_indices(size, size)
    named = {
        "gram": head.sums.gram[rows, columns],
        "targets": head.sums.targets,
        "counts": head.sums.counts,
        "weights": head.weights,
        "marks": head.learned.marks,
        "labels": head.learned.labels,
        "sample_marks": head.sample.marks,
        "sample_labels": head.sample.labels,
        "sample_features": head.sample.features,
    }
    if head.bank is not None:
        named |= {"bank": head.bank.features, "bank_counts": head.bank.counts, "bank_classes": head.bank.classes}
    return {name: tensor.cpu().contiguous() for name, tensor in named.items()}


def restored(
    about: Mapping[str, Any], named: Mapping[str, Tensor], *, width: int, seed: int, classes: int, per_class: int
) -> SolvedHead:
    """The solved head from what ``entry`` and ``tensors`` gave.

    Args:
        about: What the manifest records.
        named: The tensors.
        width: The number of random features.
        seed: The seed they are drawn from.
        classes: The number of classes of the model.
        per_class: The largest number of features of a class in the bank.

    Raises:
        KeyError, TypeError, ValueError: If something is missing or does not fit.
    """
    dim, gamma, ridge = int(about["dim"]), float(about["gamma"]), float(about["ridge"])
    size, images, sampled = width + 1, len(named["marks"]), len(named["sample_marks"])
    shapes = {
        "gram": (size * (size + 1) // 2,),
        "targets": (size, classes),
        "counts": (classes,),
        "weights": (size, classes),
        "labels": (images,),
        "sample_labels": (sampled,),
        "sample_features": (sampled, dim),
    }
    if "bank" in named:
        held = len(named["bank"])
        shapes |= {"bank": (held, dim), "bank_counts": (held,), "bank_classes": (held,)}
    for name, shape in shapes.items():
        if tuple(named[name].shape) != shape:
            raise ValueError(f"{name} has shape {tuple(named[name].shape)}; expected {shape}")
        if named[name].is_floating_point() and not bool(named[name].isfinite().all()):
            raise ValueError(f"{name} contains NaN or infinite values")
    if not gamma > 0 or any(
        len(part) and not 0 <= int(part.min()) <= int(part.max()) < classes for part in _labels(named)
    ):
        raise ValueError("gamma, or the class of an image, is out of range")
    rows, columns = torch.tril_indices(size, size)
    gram = torch.empty(size, size, dtype=torch.float64)
    gram[rows, columns] = gram[columns, rows] = named["gram"].double()
    calibration = dict(about["calibration"])
    learned = Images(named["marks"], named["labels"], torch.empty(images, 0))
    sample = Images(named["sample_marks"], named["sample_labels"], named["sample_features"].float())
    return SolvedHead(
        FourierFeatures(dim, width, gamma, seed),
        Sums(gram, named["targets"].double(), named["counts"].double()),
        learned,
        sample,
        named["weights"].double(),
        ridge,
        Calibration(**{**calibration, "likeness": tuple(calibration["likeness"])}),
        Bank(named["bank"].half(), named["bank_counts"].double(), named["bank_classes"]) if "bank" in named else None,
        per_class if "bank" in named else 0,
    )


def _labels(named: Mapping[str, Tensor]) -> list[Tensor]:
    return [named[name] for name in ("labels", "sample_labels", "bank_classes") if name in named]
