"""Settings of RAPF, RanPAC and ACIL, with the values of their authors for CIFAR-100."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from mgclip.method.settings import Positive
from mgclip.validation import TrueNumbers


class RAPFSettings(TrueNumbers):
    """In a recipe each name begins with ``rapf_``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Positive = 15
    batch_size: Positive = 100
    beta: Annotated[float, Field(ge=0.1, allow_inf_nan=False)] = 2
    """Scales how many samples are drawn: int(10 beta) of an old class, int(20 beta) for a pair of close texts."""
    bias: Annotated[float, Field(ge=0, le=1)] = 0.6
    """b: the smallest share of the new adapter that fusion keeps."""
    tau: Annotated[float, Field(ge=0, le=2)] = 0.55
    """An old and a new class are a hard pair if their texts are closer than this."""
    old_classes: Positive = 2
    """k: old classes sampled for each batch."""
    shrinkage: bool = False
    """Shrink covariances when sampling, for classes with few images."""
    init: Literal["default", "identity"] = "default"
    """The adapter before the first task: a linear layer's default initialisation, as published, or the identity."""


class RanPACSettings(TrueNumbers):
    """In a recipe each name begins with ``ranpac_``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: Positive = 10_000
    """M: length of the random projection."""
    first_task_adapter: bool = False
    """Adapt CLIP on the first task before the projection."""


class ACILSettings(TrueNumbers):
    """In a recipe each name begins with ``acil_``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: Positive = 8192
    """M: number of random features."""
    ridge: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    """gamma in the paper."""
