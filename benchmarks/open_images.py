"""Time opening and transforming photographs, in turn with a plain Pillow script, on one core.

    python benchmarks/open_images.py photos --images 200
    python benchmarks/open_images.py --images 20 --size 4032x3024 --jpeg-draft --shape vit-b-16
    python benchmarks/open_images.py --images 2000 --threads 1,2,4,8,16

The script opens, converts, resizes and crops an image and makes an array of it. Both give the same pixels, which is checked first.
With ``--jpeg-draft``, the setting ``jpeg_draft`` is compared with complete decoding instead: rates, pixels and the features of a CLIP.
Without a folder, photographs are generated. The processor time of one thread is measured, so that other programs disturb it little.
With ``--threads``, the rates on several threads are measured instead, in seconds that pass.
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
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mgclip.bench.shapes import SHAPES, make_backbone
from mgclip.clip.pixels import PreparedImages
from mgclip.clip.transform import Transform, crop_box
from mgclip.images import THREADS
from mgclip.stream.folder import image_files

SIDE, BATCH, MANY = 224, 50, 256
Work = Callable[[Sequence[Path]], object]
TRANSFORM = Transform(SIDE, None, (SIDE, SIDE), Image.Resampling.BICUBIC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", default="500x375", help="of generated photographs")
    parser.add_argument("--jpeg-draft", action="store_true")
    parser.add_argument("--shape", choices=SHAPES, help="with --jpeg-draft: the CLIP; all but iconclip have random weights")
    parser.add_argument("--threads", help="numbers of threads, separated by commas")
    args = parser.parse_args()
    os.environ[THREADS] = "1"
    with contextlib.ExitStack() as stack:
        width, height = map(int, args.size.split("x"))
        folder = args.folder or generate(Path(stack.enter_context(tempfile.TemporaryDirectory())), args.images, width, height)
        files = image_files(folder)[: args.images]
        if args.threads:
            report = {number: rate_on_threads(number, files, args.rounds) for number in args.threads.split(",")}
        else:
            report = draft(files, args.shape, args.rounds) if args.jpeg_draft else against_pillow(files, args.rounds)
    print(json.dumps({"images": len(files), **report}))


def against_pillow(files: Sequence[Path], rounds: int) -> dict[str, float]:
    """Compare the rate of this package with that of plain Pillow, after checking that both give the same pixels."""
    if not np.array_equal(np.stack(plain(files[:20])), ours(files[:20]).permute(0, 2, 3, 1).numpy()):
        raise SystemExit("The pixels differ from those of plain Pillow.")
    plain_rate, our_rate, ratio = rates(plain, ours, files, rounds)
    return {"plain Pillow/s": plain_rate, "ours/s": our_rate, "ratio": ratio}


def draft(files: Sequence[Path], shape: str | None, rounds: int) -> dict[str, float]:
    """Compare ``jpeg_draft`` with complete decoding: rates, pixels and, if there is a ``shape``, features."""
    backbone = make_backbone(shape) if shape else None  # without one, the transform is that of ViT-B/16
    transform = backbone.transform if backbone else TRANSFORM
    full, reduced = (partial(ours, transform=replace(transform, jpeg_draft=on)) for on in (False, True))
    full_rate, reduced_rate, ratio = rates(full, reduced, files, rounds)
    found = {"complete/s": full_rate, "jpeg_draft/s": reduced_rate, "ratio": ratio}
    one, other = full(files), reduced(files)
    apart = (one.int() - other.int()).abs()
    found |= {"largest difference of pixels": apart.max().item(), "mean difference": apart.float().mean().item()}
    if backbone:
        cosines = [
            (backbone.image_features(a) * backbone.image_features(b)).sum(1)
            for a, b in zip(one.split(BATCH), other.split(BATCH), strict=True)
        ]
        found |= {"least cosine": torch.cat(cosines).min().item(), "mean cosine": torch.cat(cosines).mean().item()}
    return found


def generate(folder: Path, count: int, width: int, height: int) -> Path:
    """A folder of JPEG files: colour gradients with fine noise."""
    rng = np.random.default_rng(0)
    for number in range(count):
        left, right = rng.uniform(0, 255, (2, height, 3))
        gradients = np.linspace(left, right, width, axis=1)
        picture = np.clip(gradients + rng.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:05}.jpg", quality=90)
    return folder


def rates(one: Work, other: Work, files: Sequence[Path], rounds: int) -> tuple[float, float, float]:
    """The images per second of each, and how many times as fast the second is."""
    pairs = [(timed(one, files), timed(other, files)) for _ in range(rounds)]
    slow, fast = (len(files) / statistics.median(times) for times in zip(*pairs, strict=True))
    return slow, fast, statistics.median(first / second for first, second in pairs)


def rate_on_threads(number: str, files: Sequence[Path], rounds: int) -> float:
    """The images per second in the fastest of all rounds, with at most this many threads."""
    os.environ[THREADS] = number

    def once() -> float:
        start = time.perf_counter()
        for first in range(0, len(files), MANY):
            ours(files[first : first + MANY])
        return time.perf_counter() - start

    return len(files) / min(once() for _ in range(rounds))


def timed(work: Work, files: Sequence[Path]) -> float:
    """Seconds of processor time for all files, in batches."""
    start = time.process_time()
    for first in range(0, len(files), BATCH):
        work(files[first : first + BATCH])
    return time.process_time() - start


def ours(files: Sequence[Path], transform: Transform = TRANSFORM) -> torch.Tensor:
    """Images ``(n, 3, side, side)`` as this package opens them."""
    return PreparedImages(files, transform, keep_bytes=0).batch(torch.arange(len(files)))


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
