"""Hold images out of training, to measure on afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

LEAST = 5
"""A class with fewer images than this is trained on all of them."""


def hold_out(
    classes: Mapping[str, Sequence[Path]], *, share: float, seed: int
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Images to train on and images held out, by class: ``share`` of each class's, at least one, drawn from ``seed``."""
    kept: dict[str, list[Path]] = {}
    held: dict[str, list[Path]] = {}
    for number, (name, files) in enumerate(classes.items()):
        count = max(1, round(share * len(files))) if share and len(files) >= LEAST else 0
        out = set(np.random.default_rng([seed, number]).permutation(len(files))[:count].tolist())
        kept[name] = [file for place, file in enumerate(files) if place not in out]
        if out:
            held[name] = [file for place, file in enumerate(files) if place in out]
    return kept, held
