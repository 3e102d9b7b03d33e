"""How work is timed: in turn with other work, and including what it leaves to a GPU."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping

import torch

from mgclip.clip.compute import DTYPES, Precision
from mgclip.clip.parallel import local_device

Work = Callable[[], object]


def seconds(work: Work) -> float:
    """The time of one call, including the work that it leaves to a GPU."""
    wait_for_gpu()
    start = time.perf_counter()
    work()
    wait_for_gpu()
    return time.perf_counter() - start


def wait_for_gpu() -> None:
    """Wait until the GPU, if this process uses one, has finished its work."""
    if torch.cuda.is_initialized() and (device := local_device()).type == "cuda":
        torch.cuda.synchronize(device)


def alternate(works: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work in each round. All run in turn, after one warm-up each."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    return times


@functools.cache
def matmul_peak(precision: Precision, rounds: int) -> float:
    """Operations per second of a matrix multiplication on this device: the best of several large square products. A
    process measures it once for each precision.
    """
    device = local_device()
    size = 8192 if device.type == "cuda" else 4096
    a, b = (torch.randn(size, size, device=device).to(DTYPES[precision]) for _ in range(2))
    torch.mm(a, b)
    return float(2 * size**3 / min(seconds(lambda: torch.mm(a, b)) for _ in range(rounds)))
