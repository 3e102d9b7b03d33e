"""What the method is compared with: its parts alone, and the plain ways. All are settings of the one learner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mgclip.method.settings import Settings

METHODS: Mapping[str, Mapping[str, Any]] = {
    # CLIP as it is (Continual-CLIP): nothing is learned.
    "zero-shot": {"epochs": 0, "branches": "text"},
    # Adapters trained 10 epochs on each task; no preservation, no head.
    "fine-tune": {"epochs": 10, "branches": "text"},
    # The whole method.
    "mg-clip": {},
    # Its first half: adapters stopped by the gap, predicted by texts.
    "preservation-only": {"branches": "text"},
    # Its second half: the image-space head beside CLIP as it is.
    "compensation-only": {"epochs": 0},
    # Each class's mean image feature on CLIP as it is, cosine argmax (SimpleCIL).
    "class-means": {"epochs": 0, "head_epochs": 0, "branches": "image"},
}
"""Method name -> what it changes in the settings."""


def method_settings(method: str, settings: Settings) -> Settings:
    """The settings of one method, from those of the recipe."""
    return settings.model_copy(update=dict(METHODS[method]))
