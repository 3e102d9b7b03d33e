"""MG-CLIP: teach CLIP new classes, task after task, with less forgetting.

The public names are imported when they are first used, so that ``import mgclip`` and ``mgclip --help`` do not wait for PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgclip._version import __version__

if TYPE_CHECKING:
    from mgclip.method.baselines.feature_classifier import FeatureClassifier, FeatureTask
    from mgclip.method.baselines.make import load_learner
    from mgclip.method.learner import MGCLIP
    from mgclip.method.methods import Method, register_method
    from mgclip.method.model_files import undo
    from mgclip.method.predictions import Predictions
    from mgclip.method.settings import Settings
    from mgclip.saving.versions import history
    from mgclip.stream.data import Dataset, Split
    from mgclip.stream.datasets import register_dataset
    from mgclip.stream.entry import DatasetEntry
    from mgclip.workflows.classifier import MGCLIPClassifier

__all__ = [
    "MGCLIP",
    "Dataset",
    "DatasetEntry",
    "FeatureClassifier",
    "FeatureTask",
    "MGCLIPClassifier",
    "Method",
    "Predictions",
    "Settings",
    "Split",
    "__version__",
    "history",
    "load_learner",
    "register_dataset",
    "register_method",
    "undo",
]

_MODULES = {
    "MGCLIP": "mgclip.method.learner",
    "Dataset": "mgclip.stream.data",
    "DatasetEntry": "mgclip.stream.entry",
    "FeatureClassifier": "mgclip.method.baselines.feature_classifier",
    "FeatureTask": "mgclip.method.baselines.feature_classifier",
    "MGCLIPClassifier": "mgclip.workflows.classifier",
    "Method": "mgclip.method.methods",
    "Predictions": "mgclip.method.predictions",
    "Settings": "mgclip.method.settings",
    "Split": "mgclip.stream.data",
    "history": "mgclip.saving.versions",
    "load_learner": "mgclip.method.baselines.make",
    "register_dataset": "mgclip.stream.datasets",
    "register_method": "mgclip.method.methods",
    "undo": "mgclip.method.model_files",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mgclip' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
