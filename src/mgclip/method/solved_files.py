"""The solved head as tensors and a few numbers, for the files of a saved model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from mgclip.method.analytic import FourierFeatures, Sums
from mgclip.method.bank import Bank
from mgclip.method.calibration import Calibration
from mgclip.method.solved_head import Images, SolvedHead
from mgclip.validation import problems

WHOLE = {"marks", "labels", "sample_marks", "sample_labels", "bank_classes"}
"""The tensors of whole numbers."""


class Entry(BaseModel):
    """What the manifest records about a solved head."""

    model_config = ConfigDict(allow_inf_nan=False)

    dim: Annotated[int, Field(ge=1)]
    gamma: Annotated[float, Field(gt=0)]
    ridge: Annotated[float, Field(ge=0)]
    forgotten: Annotated[float, Field(ge=0)] = 0.0
    calibration: Calibration


def entry(head: SolvedHead) -> dict[str, Any]:
    """What the manifest records about a solved head."""
    drawn, forgotten = {"dim": head.fourier.dim, "gamma": head.fourier.gamma}, head.sums.forgotten
    return {**drawn, "ridge": head.ridge, "forgotten": forgotten, "calibration": asdict(head.calibration)}


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
    about: Mapping[str, Any],
    named: Mapping[str, Tensor],
    *,
    width: int,
    seed: int,
    classes: int,
    per_class: int,
    text_weight: float | None = None,
) -> SolvedHead:
    """The solved head from what ``entry`` and ``tensors`` gave.

    Args:
        about: What the manifest records.
        named: The tensors.
        width: The number of random features.
        seed: The seed they are drawn from.
        classes: The number of classes of the model.
        per_class: The largest number of features of a class in the bank.
        text_weight: The weight of the texts, if it is not fitted.

    Raises:
        KeyError, TypeError, ValueError: If something is missing or does not fit.
    """
    try:
        known = Entry.model_validate(about)
    except ValidationError as error:
        raise ValueError("; ".join(problems(error))) from None
    _check_shapes(named, size=width + 1, classes=classes, dim=known.dim)
    _check_values(named, known, classes)
    rows, columns = torch.tril_indices(width + 1, width + 1)
    gram = torch.empty(width + 1, width + 1, dtype=torch.float64)
    gram[rows, columns] = gram[columns, rows] = named["gram"].double()
    none = torch.empty(len(named["marks"]), 0)
    return SolvedHead(
        FourierFeatures(known.dim, width, known.gamma, seed),
        Sums(gram, named["targets"].double(), named["counts"].double(), known.forgotten),
        Images(named["marks"], named["labels"], none),
        Images(named["sample_marks"], named["sample_labels"], named["sample_features"].float()),
        named["weights"].double(),
        known.ridge,
        known.calibration,
        Bank(named["bank"].half(), named["bank_counts"].double(), named["bank_classes"]) if "bank" in named else None,
        per_class if "bank" in named else 0,
        text_weight,
    )


def _check_shapes(named: Mapping[str, Tensor], *, size: int, classes: int, dim: int) -> None:
    """Check names, shapes and kinds of the tensors. Raises ``KeyError`` or ``ValueError``."""
    images, sampled = named["marks"].numel(), named["sample_marks"].numel()
    shapes = {
        "gram": (size * (size + 1) // 2,),
        "targets": (size, classes),
        "counts": (classes,),
        "weights": (size, classes),
        "marks": (images,),
        "labels": (images,),
        "sample_marks": (sampled,),
        "sample_labels": (sampled,),
        "sample_features": (sampled, dim),
    }
    if "bank" in named:
        held = named["bank_classes"].numel()
        shapes |= {"bank": (held, dim), "bank_counts": (held,), "bank_classes": (held,)}
    for name, shape in shapes.items():
        tensor = named[name]
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {shape}")
        if tensor.is_floating_point() == (name in WHOLE) or (name in WHOLE and tensor.dtype != torch.long):
            raise ValueError(f"{name} has numbers of type {str(tensor.dtype).removeprefix('torch.')}")


def _check_values(named: Mapping[str, Tensor], known: Entry, classes: int) -> None:
    """Check the values of tensors of the right shapes. Raises ``ValueError``."""
    for name, tensor in named.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} contains NaN or infinite values")
        labels = name.endswith(("labels", "classes"))
        if labels and len(tensor) and not 0 <= int(tensor.min()) <= int(tensor.max()) < classes:
            raise ValueError(f"{name} contains a class that is out of range")
    if not torch.equal(named["labels"].bincount(minlength=classes).double(), named["counts"].double()):
        raise ValueError("counts are not the numbers of images of the classes")
    if bool((named["counts"] < 1).any()):
        raise ValueError("a class has no image")
    if not known.calibration.deviation > 0:
        raise ValueError(f"calibration.deviation must be more than 0; found {known.calibration.deviation}")
