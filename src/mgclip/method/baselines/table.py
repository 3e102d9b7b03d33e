"""Every method by name, with where it is defined."""

from __future__ import annotations

from collections.abc import Mapping

from mgclip.method.baselines import align, fine_tune, joint, simplecil, variants, zero_shot
from mgclip.method.baselines.method import Method
from mgclip.method.settings import Settings

METHODS: Mapping[str, Method] = {
    "zero-shot": zero_shot.METHOD,
    "fine-tune": fine_tune.METHOD,
    "align": align.METHOD,
    "simplecil": simplecil.METHOD,
    "ranpac": Method(
        about="ridge regression on random projections of frozen image features",
        source="RanPAC (McDonnell et al., NeurIPS 2023, arXiv 2307.02251)",
        frozen=True,
    ),
    "rapf": Method(
        about="a linear adapter with Gaussian feature replay",
        source="RAPF (Huang et al., ECCV 2024, arXiv 2407.14143)",
        frozen=True,
    ),
    "preservation-only": variants.PRESERVATION_ONLY,
    "compensation-only": variants.COMPENSATION_ONLY,
    "mg-clip": variants.MG_CLIP,
    "mg-clip-replay": variants.MG_CLIP_REPLAY,
    "joint": joint.METHOD,
}

MEMORY = 2000
"""Images in the published memory."""


def method_settings(method: str, settings: Settings) -> Settings:
    """The settings of one method, from those of the recipe.

    The recipe's memory, or one of ``MEMORY`` images if it names none, is the replaying method's alone.
    """
    found = METHODS[method]
    memory = {"memory": settings.memory or MEMORY} if found.replays else {"memory": 0, "balanced": False}
    return settings.model_copy(update={**memory, **found.changes})
