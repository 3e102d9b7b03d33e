"""Make the learner of a method, new or from what it saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mgclip.clip.backbone import Backbone
from mgclip.method.baselines.features import FeatureClassifier
from mgclip.method.baselines.frozen import FrozenLearner
from mgclip.method.baselines.ranpac import RanPAC
from mgclip.method.baselines.rapf import RAPF
from mgclip.method.baselines.settings import BaselineSettings
from mgclip.method.baselines.table import METHODS, method_settings
from mgclip.method.learner import MGCLIP
from mgclip.method.settings import Settings
from mgclip.saving.store import is_saved

Learner = MGCLIP | FrozenLearner
"""What the runner works with."""

CLASSIFIERS: dict[str, Callable[[Backbone, Settings, BaselineSettings], FeatureClassifier]] = {
    "ranpac": RanPAC,
    "rapf": RAPF,
}


def make_learner(
    method: str, backbone: Backbone, settings: Settings, peers: BaselineSettings, saved: Path | None = None
) -> Learner:
    """The learner of a method, resumed from ``saved`` if something was saved there."""
    settings = method_settings(method, settings)
    found = saved if saved is not None and is_saved(saved) else None
    if not METHODS[method].frozen:
        if found is None:
            return MGCLIP(backbone, settings)
        return MGCLIP.from_pretrained(found, base=backbone, runtime=settings.runtime())
    adapts = method == "ranpac" and peers.ranpac_first_task_adapter
    learner = FrozenLearner(method, backbone, settings, CLASSIFIERS[method](backbone, settings, peers), adapt_first=adapts)
    if found is not None:
        learner.restore(found)
    return learner
