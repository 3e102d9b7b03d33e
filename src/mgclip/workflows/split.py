"""Hold images out of training, to measure on afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

LEAST = 5
"""A class with fewer images than this is trained on all of them."""


def hold_out(
    classes: Mapping[str, Sequence[Path]], *, share: float, seed: int
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Images to train on and images held out, by class: ``share`` of each class's, at least one.

    An image's turn depends on seed, class name and file name alone, so that a class learned again holds out the same ones.
    """
    kept: dict[str, list[Path]] = {}
    held: dict[str, list[Path]] = {}
    for name, files in classes.items():
        count = max(1, round(share * len(files))) if share and len(files) >= LEAST else 0
        out = set(sorted(files, key=lambda file: (_turn(seed, name, file), file))[:count])
        kept[name] = [file for file in files if file not in out]
        if out:
            held[name] = [file for file in files if file in out]
    return kept, held


def _turn(seed: int, name: str, file: Path) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}\0{file.name}".encode("utf-8", "surrogateescape")).digest()
