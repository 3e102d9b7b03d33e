"""Time opening and transforming photographs, in turn with a plain Pillow script, on one core.

    python benchmarks/open_images.py photos --images 200

The script opens, converts, resizes and crops an image and makes an array of it. Both give the same pixels, which is checked first.
Without a folder, photographs of 500 x 375 pixels are generated. Processor time is measured, on one thread, so that other programs
disturb it little.
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
        folder = args.folder or generate(Path(stack.enter_context(tempfile.TemporaryDirectory())), args.images)
        files = image_files(folder)[: args.images]
        if not np.array_equal(np.stack(plain(files[:20])), ours(files[:20]).permute(0, 2, 3, 1).numpy()):
            raise SystemExit("The pixels differ from those of plain Pillow.")
        pairs = [(timed(plain, files), timed(ours, files)) for _ in range(args.rounds)]
    plain_rate, our_rate = (len(files) / statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    print(json.dumps({"images": len(files), "plain Pillow/s": plain_rate, "ours/s": our_rate, "ratio": ratio}))


def generate(folder: Path, count: int) -> Path:
    """A folder of JPEG files of 500 x 375: colour gradients with fine noise."""
    rng = np.random.default_rng(0)
    for number in range(count):
        left, right = rng.uniform(0, 255, (2, 375, 3))
        gradients = np.linspace(left, right, 500, axis=1)
        picture = np.clip(gradients + rng.normal(0, 20, (375, 500, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:05}.jpg", quality=90)
    return folder


def timed(work: Callable[[Sequence[Path]], object], files: Sequence[Path]) -> float:
    """Seconds of processor time for all files, in batches."""
    start = time.process_time()
    for first in range(0, len(files), BATCH):
        work(files[first : first + BATCH])
    return time.process_time() - start


def ours(files: Sequence[Path]) -> torch.Tensor:
    """Images ``(n, 3, SIDE, SIDE)`` as this package opens them."""
    return PreparedImages(files, TRANSFORM, keep_bytes=0).batch(torch.arange(len(files)))


def plain(files: Sequence[Path]) -> list[NDArray[np.uint8]]:
    """The same images ``(SIDE, SIDE, 3)`` as a short script opens them."""
    done = []
    for file in files:
        image = Image.open(file).convert("RGB")
        image = image.resize(TRANSFORM.size(*image.size), Image.Resampling.BICUBIC)
        done.append(np.asarray(image.crop(crop_box(image.size, (SIDE, SIDE)))))
    return done


if __name__ == "__main__":
    main()
