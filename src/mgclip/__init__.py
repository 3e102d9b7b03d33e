"""MG-CLIP: teach CLIP new classes, task after task, without forgetting the old ones.

The public names are imported when they are first used, so that ``import mgclip`` and ``mgclip --help`` do not wait for PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgclip._version import __version__

if TYPE_CHECKING:
    from mgclip.method.learner import MGCLIP
    from mgclip.method.model_files import undo
    from mgclip.method.predictions import Predictions
    from mgclip.method.settings import Settings
    from mgclip.saving.versions import history
    from mgclip.workflows.classifier import MGCLIPClassifier

__all__ = ["MGCLIP", "MGCLIPClassifier", "Predictions", "Settings", "__version__", "history", "undo"]

_MODULES = {
    "MGCLIP": "mgclip.method.learner",
    "MGCLIPClassifier": "mgclip.workflows.classifier",
    "Predictions": "mgclip.method.predictions",
    "Settings": "mgclip.method.settings",
    "history": "mgclip.saving.versions",
    "undo": "mgclip.method.model_files",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mgclip' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
