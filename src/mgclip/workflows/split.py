"""Hold out images of training, to measure on them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

HOLD_OUT = 0.2
"""Share of the images of a class that is held out unless another one is given."""
MIN_IMAGES = 5
"""A class with fewer images is trained on all of them."""


def hold_out(
    classes: Mapping[str, Sequence[Path]], *, share: float, seed: int, never: Collection[Path] = ()
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Split the images of each class at random.

    The choice depends only on the seed, the name of the class and the names of the files, so that it can be repeated.

    Args:
        classes: Image files by class.
        share: Share of each class to hold out, at least one image; 0 for none.
        seed: Seed of the choice.
        never: Files to train on in any case.

    Returns:
        Images to train on and images held out, by class.
    """
    kept: dict[str, list[Path]] = {}
    held: dict[str, list[Path]] = {}
    for name, files in classes.items():
        free = [file for file in files if file not in never]
        count = max(1, round(share * len(free))) if share and len(free) >= MIN_IMAGES else 0
        out = set(sorted(free, key=lambda file: (_sort_key(seed, name, file), file))[:count])
        kept[name] = [file for file in files if file not in out]
        if out:
            held[name] = [file for file in files if file in out]
    return kept, held


def _sort_key(seed: int, name: str, file: Path) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}\0{file.name}".encode("utf-8", "surrogateescape")).digest()
