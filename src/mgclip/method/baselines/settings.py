"""Settings of RAPF and RanPAC, with the values of their authors for CIFAR-100."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field

from mgclip.method.build_settings import CheckedSettings

Positive = Annotated[int, Field(ge=1)]


class BaselineSettings(CheckedSettings):
    """Their names begin with the name of their method. Unknown names and values out of range raise ``InputError``."""

    rapf_epochs: Positive = 15
    rapf_batch_size: Positive = 100
    rapf_beta: Annotated[float, Field(ge=0.1, allow_inf_nan=False)] = 2
    """Scales how many samples are drawn: int(10 beta) of an old class, int(20 beta) for a pair of close texts."""
    rapf_bias: Annotated[float, Field(ge=0, le=1)] = 0.6
    """b: the smallest share of the new adapter that fusion keeps."""
    rapf_tau: Annotated[float, Field(ge=0, le=2)] = 0.55
    """An old and a new class are a hard pair if their texts are closer than this."""
    rapf_old_classes: Positive = 2
    """k: old classes sampled for each batch."""
    rapf_shrinkage: bool = False
    """Shrink covariances when sampling, for classes with few images."""
    rapf_init: Literal["default", "identity"] = "default"
    """The adapter before the first task: a linear layer's default initialisation, as published, or the identity."""

    ranpac_width: Positive = 10_000
    """M: length of the random projection."""
    ranpac_first_task_adapter: bool = False
    """Adapt CLIP on the first task before the projection."""


def unused(methods: Collection[str]) -> set[str]:
    """The settings that none of these methods uses."""
    return {key for key in BaselineSettings.model_fields if key.partition("_")[0] not in methods}
