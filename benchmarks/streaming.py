"""Learn a million images from shards: is memory independent of their number, and is time linear? And compare two processes with one.

    python benchmarks/streaming.py --images 1000000 --kind tar
    python benchmarks/streaming.py --images 1000000 --kind parquet
    python benchmarks/streaming.py --processes --images 20000
    python benchmarks/streaming.py --images 400 --shard 100 --classes 10

The shards are links to a few files with different images, so a million images need little disk. Time and memory are those of the
process that learns, noted after each shard. Memory is the slope of a line through the resident memory from a tenth of the images
on, in bytes per image; time compares the seconds per image of the last half with those before. The fingerprint and the class of
an image take 16 bytes of it.

``--processes`` learns the same shards with one process and with two, each on a core of its own, and prints the ratio of the times
of encoding.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FILES = 4
"""Shards with different images; the others are links to them."""
KINDS = ("tar", "parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shard", type=int, default=5_000, help="images of a shard")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--kind", choices=KINDS, default="tar")
    parser.add_argument("--features", type=int, default=256, help="random features")
    parser.add_argument("--base", default="iconclip", help="the CLIP; with a smaller one, reading takes a larger share")
    parser.add_argument("--processes", action="store_true", help="compare one process with two")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        learn(args)
        return
    if args.processes and len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("Two processes on one core take as long as one: run this on at least two cores.")
    with tempfile.TemporaryDirectory() as folder:
        make_shards(Path(folder), args)
        print(json.dumps(compared(Path(folder), args) if args.processes else grown(measured(Path(folder), args, 1))))


def make_shards(folder: Path, args: argparse.Namespace) -> None:
    """Write shards with ``args.images`` images: a few files, and links to them."""
    names = [f"class {label}" for label in range(args.classes)]
    shards = max(1, args.images // args.shard)
    for number in range(shards):
        file = folder / f"{number:05}.{args.kind}"
        if number >= FILES:
            os.link(folder / f"{number % FILES:05}.{args.kind}", file)
            continue
        rng = np.random.default_rng(number)
        labels = rng.integers(args.classes, size=args.shard)
        images = [picture(rng, int(label)) for label in labels]
        (write_tar if args.kind == "tar" else write_parquet)(file, images, [names[label] for label in labels])


def picture(rng: np.random.Generator, label: int) -> bytes:
    """A small JPEG that depends on the class."""
    base = np.random.default_rng(label).integers(256, size=(4, 4, 3))
    pixels = np.clip(base.repeat(8, 0).repeat(8, 1) + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def write_tar(file: Path, images: list[bytes], names: list[str]) -> None:
    with tarfile.open(file, "w") as archive:
        for number, (image, name) in enumerate(zip(images, names, strict=True)):
            for ending, data in (("jpg", image), ("cls", name.encode())):
                member = tarfile.TarInfo(f"{number:06}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def write_parquet(file: Path, images: list[bytes], names: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = [{"bytes": image, "path": None} for image in images]
    pq.write_table(pa.table({"image": stored, "label": names}), file, row_group_size=1_000)


def learn(args: argparse.Namespace) -> None:
    """Learn the shards in this process, and print images, seconds and resident bytes after each shard."""
    from mgclip import MGCLIP
    from mgclip.clip import parallel
    from mgclip.method.methods import ANALYTIC
    from mgclip.stream.shards import find_shards

    found = find_shards(str(args.read))
    assert found is not None
    model = MGCLIP.from_pretrained(args.base, settings={**ANALYTIC, "features": args.features, "gamma": 1.0})
    images, noted, seconds = 0, 0, 0.0
    parallel.wait()  # until all processes are connected
    begun = time.perf_counter()

    def on_images(number: int) -> None:
        nonlocal images, noted, seconds
        images, seconds = images + number, time.perf_counter() - begun
        if images - noted >= args.shard:
            noted = images
            print(json.dumps([images, seconds, resident()]), flush=True)

    model.encoder.on_images = on_images
    with tempfile.TemporaryDirectory() as progress:
        model.learn_shards(found.train, progress=progress)
        parallel.wait()
    print(json.dumps([images, seconds, resident()]), flush=True)


def resident() -> int:
    """The bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measured(folder: Path, args: argparse.Namespace, processes: int) -> list[tuple[int, float, int]]:
    """What ``learn`` printed in the first of some ``processes``, each on a core of its own."""
    command = [sys.executable, __file__, "--read", str(folder), "--base", args.base]
    command += ["--shard", str(args.shard), "--features", str(args.features)]
    cores = sorted(os.sched_getaffinity(0))
    group = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29_533, "TORCHELASTIC_RUN_ID": "streaming"}
    running = []
    for rank in range(processes):
        own = {"RANK": rank, "LOCAL_RANK": rank, **group} if processes > 1 else {}
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in own.items()}}
        pinned = ["taskset", "-c", str(cores[rank % len(cores)]), *command]
        running.append(subprocess.Popen(pinned, env=variables, stdout=subprocess.PIPE, text=True))
    printed = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("A process failed.")
    return [tuple(json.loads(line)) for line in printed[0].splitlines()]


def grown(rows: list[tuple[int, float, int]]) -> dict[str, Any]:
    """How memory and time grow with the number of images."""
    images, seconds, memory = np.array(rows[:-1], dtype=np.float64).T
    later = images >= images[-1] / 10
    slope, first = np.polyfit(images[later], memory[later], 1)
    noise = float(np.std(memory[later] - (slope * images[later] + first)))
    half = np.searchsorted(images, images[-1] / 2)
    start = int(np.argmax(later))
    early = (seconds[half] - seconds[start]) / max(1, images[half] - images[start])
    late = (seconds[-1] - seconds[half]) / max(1, images[-1] - images[half])
    return {
        "images": rows[-1][0],
        "seconds": round(rows[-1][1], 1),
        "images per second": round(rows[-1][0] / rows[-1][1]),
        "bytes per image": round(float(slope), 2),
        "noise, bytes": round(noise),
        "GiB": round(float(memory.max()) / 2**30, 3),
        "seconds per image, last half / before": round(float(late / early), 3) if early else None,
    }


def compared(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds with one process and with two."""
    one, two = (measured(folder, args, processes)[-1][1] for processes in (1, 2))
    return {"images": args.images, "one process, s": round(one, 1), "two, s": round(two, 1), "ratio": round(one / two, 2)}


if __name__ == "__main__":
    main()
