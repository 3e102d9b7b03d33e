"""The solved head as tensors and a few numbers, for the files of a saved model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from mgclip.clip.representation import Representation
from mgclip.method.analytic.bank import Bank
from mgclip.method.analytic.calibration import Calibration
from mgclip.method.analytic.evidence import Evidence
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.random_features import RandomFeatures
from mgclip.method.analytic.ridge_regression import weights_dtype
from mgclip.method.analytic.solved_head import SolvedHead
from mgclip.method.analytic.sums import Sums
from mgclip.method.settings import Settings
from mgclip.validation import problems

WHOLE = {"marks", "labels", "sample_marks", "sample_labels", "bank_classes"}
"""The tensors of whole numbers."""


class Entry(BaseModel):
    """What the manifest records about a solved head."""

    model_config = ConfigDict(allow_inf_nan=False)

    dim: Annotated[int, Field(ge=1)]
    gamma: Annotated[float, Field(gt=0)]
    representation: Representation = "projected"
    ridge: Annotated[float, Field(ge=0)]
    forgotten: Annotated[float, Field(ge=0)] = 0.0
    calibration: Calibration
    frozen_forgotten: Annotated[float, Field(ge=0)] = 0.0
    evidence: Evidence = Evidence()


def entry(head: SolvedHead) -> dict[str, Any]:
    """What the manifest records about a solved head."""
    about: dict[str, Any] = {
        "dim": head.fourier.dim,
        "gamma": head.fourier.gamma,
        "ridge": head.ridge,
        "forgotten": head.sums.forgotten,
        "calibration": asdict(head.calibration),
    }
    if head.fourier.representation != "projected":
        about["representation"] = head.fourier.representation
    if head.frozen is not None:
        about["frozen_forgotten"] = head.frozen.forgotten
    if head.evidence.images:
        about["evidence"] = asdict(head.evidence)
    return about


def tensors(head: SolvedHead) -> dict[str, Tensor]:
    """A solved head as named tensors. Of the symmetric sum only one triangle is kept."""
    named = {
        "gram": _triangle(head.sums.gram),
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
    if head.frozen is not None:
        assert head.sample.frozen is not None
        named |= {"frozen_gram": _triangle(head.frozen.gram), "frozen_targets": head.frozen.targets}
        named |= {"frozen_sample_features": head.sample.frozen}
    return {name: tensor.cpu().contiguous() for name, tensor in named.items()}


def _triangle(matrix: Tensor) -> Tensor:
    """The lower triangle of a symmetric matrix, as a vector."""
    rows, columns = torch.tril_indices(len(matrix), len(matrix))
    return matrix[rows, columns]


def _symmetric(triangle: Tensor, size: int) -> Tensor:
    """The symmetric matrix with this lower triangle."""
    rows, columns = torch.tril_indices(size, size)
    matrix = torch.empty(size, size, dtype=torch.float64)
    matrix[rows, columns] = matrix[columns, rows] = triangle.double()
    return matrix


def restored(about: Mapping[str, Any], named: Mapping[str, Tensor], *, settings: Settings, classes: int) -> SolvedHead:
    """The solved head from what ``entry`` and ``tensors`` gave.

    Args:
        about: What the manifest records.
        named: The tensors.
        settings: The settings of the model.
        classes: The number of classes of the model.

    Raises:
        KeyError, TypeError, ValueError: If something is missing or does not fit.
    """
    try:
        known = Entry.model_validate(about)
    except ValidationError as error:
        raise ValueError("; ".join(problems(error))) from None
    size, balance = settings.features + 1, settings.class_balance
    _check_shapes(named, size=size, classes=classes, dim=known.dim)
    _check_values(named, known, classes)
    counts = named["counts"].double()
    bank = frozen = frozen_features = None
    if "bank" in named:
        bank = Bank(named["bank"].half(), named["bank_counts"].double(), named["bank_classes"])
    if "frozen_gram" in named:
        gram, targets = _symmetric(named["frozen_gram"], size), named["frozen_targets"].double()
        frozen = Sums(gram, targets, counts, known.frozen_forgotten, balance)
        frozen_features = named["frozen_sample_features"].float()
    drawn = known.gamma, settings.seed, settings.kernel, known.representation
    return SolvedHead(
        fourier=RandomFeatures(known.dim, settings.features, *drawn),
        sums=Sums(_symmetric(named["gram"], size), named["targets"].double(), counts, known.forgotten, balance),
        learned=Images(named["marks"], named["labels"], torch.empty(len(named["marks"]), 0)),
        sample=Images(named["sample_marks"], named["sample_labels"], named["sample_features"].float(), frozen_features),
        weights=named["weights"].to(weights_dtype(classes)),
        ridge=known.ridge,
        calibration=known.calibration,
        bank=bank,
        per_class=0 if bank is None else settings.bank_per_class,
        frozen=frozen,
        evidence=known.evidence,
        text_weight=settings.text_weight,
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
    if "frozen_gram" in named:
        shapes |= {"frozen_gram": shapes["gram"], "frozen_targets": shapes["targets"]}
        shapes |= {"frozen_sample_features": shapes["sample_features"], "bank": named["bank"].shape}
    for name, shape in shapes.items():
        tensor = named[name]
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {shape}")
        if tensor.is_floating_point() == (name in WHOLE) or (name in WHOLE and tensor.dtype != torch.long):
            raise ValueError(f"{name} has numbers of type {str(tensor.dtype).removeprefix('torch.')}")


def _check_values(named: Mapping[str, Tensor], known: Entry, classes: int) -> None:
    """Check the values of tensors of the right shapes. Raises ``ValueError``."""
    for name, tensor in named.items():
        if tensor.is_floating_point() and not bool(tensor.sum(dtype=torch.float64).isfinite()):  # needs no memory
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
