"""Record the run that `mgclip conform` replays: ten icon classes in three tasks, learned by the slow reference implementation.

    python scripts/record_conformance.py --out src/mgclip/assets/recording

This draws the images and writes the recording, in less than a minute on one core. It needs the extra `icons`. The numbers come from
tests/reference.py, which shares no code with the package. The recording names iconclip as its CLIP and contains no weights of it:
repeat it if iconclip changes.
"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference import record  # type: ignore[import-not-found]

from mgclip.stream import icons

ICONCLIP = Path(str(files("mgclip") / "assets" / "iconclip"))
CONFIG = {
    "clip": "iconclip", "adapter_rank": 8, "adapter_alpha": 1, "adapter_lr": 0.001, "epochs": 2, "adapter_batch_size": 12,
    "head_lr": 0.0005, "head_epochs": 3, "head_batch_size": 7, "eval_batch_size": 16, "vision_weight": 4,
    "prompt": "a good photo of a {}.", "class_order": [1, 7, 2, 3, 9, 5, 4, 8, 0, 6], "initial_classes": 4,
    "classes_per_task": 3, "shuffle": False,
}  # fmt: skip
PROBE = {"max_epochs": 5, "alpha": 0.003, "adapter_batch_size": 12, "adapter_lr": 0.005}
CLASSES = (
    "closed captioning", "compass", "disc", "football", "git commit", "leaf", "mouse", "question", "radio", "repeat",
)  # fmt: skip
"""Classes that iconclip confuses. With classes that it separates, the loss is near zero, and Adam would amplify rounding errors."""
STILL = ("vision.2.k", "vision.3.k")
"""Projections with a head whose attention does not depend on the keys. The true gradient there is zero up to rounding."""
TRAIN, TEST = 6, 3
SIZE = (48, 40)
"""Width and height of the images. They differ from each other and from the size of iconclip, so that it resizes and crops."""


def draw() -> dict[str, Any]:
    """Images ``(n, height, width, 3)`` uint8 and labels ``(n,)``. The classes alternate, so that each batch mixes them."""
    names = icons.class_names()
    data: dict[str, Any] = {"class_names": np.array(CLASSES)}
    for part, images, count in zip(("train", "test"), icons.load(TRAIN, TEST), (TRAIN, TEST), strict=True):
        chosen = [images[names.index(name) * count + copy] for copy in range(count) for name in CLASSES]
        data[f"x_{part}"] = np.stack([np.asarray(image.resize(SIZE, Image.Resampling.BICUBIC)) for image in chosen])
        data[f"y_{part}"] = np.tile(np.arange(len(CLASSES)), count)
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="Folder to write; it is created if it does not exist.")
    record(ICONCLIP, draw(), CONFIG, parser.parse_args().out, probe=PROBE, still=STILL)


if __name__ == "__main__":
    main()
