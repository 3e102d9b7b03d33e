"""Opening and transforming photographs against plain Pillow doing the same, in turn, on one core.

    python benchmarks/open_images.py photos --images 200

Plain is open, convert, resize, crop, to an array, and nothing else; both make the same pixels, which is checked first. Given no
folder, photographs of 500 x 375 are made. Measured is processor time, on one thread, so that other work disturbs little.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mgclip.clip.pixels import PreparedImages
from mgclip.clip.transform import Transform, crop_box
from mgclip.images import THREADS
from mgclip.stream.folder import image_files

SIDE, BATCH = 224, 50
TRANSFORM = Transform(SIDE, None, (SIDE, SIDE), Image.Resampling.BICUBIC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    os.environ[THREADS] = "1"
    with contextlib.ExitStack() as stack:
        folder = args.folder or made(Path(stack.enter_context(tempfile.TemporaryDirectory())), args.images)
        files = image_files(folder)[: args.images]
        for one, other in zip(plain(files[:20]), ours(files[:20]).permute(0, 2, 3, 1).numpy(), strict=True):
            if not np.array_equal(one, other):
                raise SystemExit("The pixels differ from plain Pillow's.")
        pairs = [(timed(plain, files), timed(ours, files)) for _ in range(args.rounds)]
    theirs, own = (len(files) / statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    print(json.dumps({"images": len(files), "plain Pillow/s": theirs, "ours/s": own, "ratio": ratio}))


def made(folder: Path, count: int) -> Path:
    """A folder of JPEG files of 500 x 375: slopes of colour under fine noise."""
    rng = np.random.default_rng(0)
    for number in range(count):
        left, right = rng.uniform(0, 255, (2, 375, 3))
        slopes = np.linspace(left, right, 500, axis=1)
        picture = np.clip(slopes + rng.normal(0, 20, (375, 500, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:05}.jpg", quality=90)
    return folder


def timed(work: Callable[[Sequence[Path]], object], files: Sequence[Path]) -> float:
    begun = time.process_time()
    for start in range(0, len(files), BATCH):
        work(files[start : start + BATCH])
    return time.process_time() - begun


def ours(files: Sequence[Path]) -> torch.Tensor:
    return PreparedImages(files, TRANSFORM, keep_bytes=0).batch(torch.arange(len(files)))


def plain(files: Sequence[Path]) -> list[NDArray[np.uint8]]:
    done = []
    for file in files:
        image = Image.open(file).convert("RGB")
        image = image.resize(TRANSFORM.size(*image.size), Image.Resampling.BICUBIC)
        done.append(np.asarray(image.crop(crop_box(image.size, (SIDE, SIDE)))))
    return done


if __name__ == "__main__":
    main()
