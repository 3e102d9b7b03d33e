"""Images per second, share of the matrix-multiply peak and GPU memory of the image tower at each precision."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from typing_extensions import TypedDict

from mgclip.bench.flops import image_flops
from mgclip.bench.passes import image_work
from mgclip.bench.shapes import make_both, make_config
from mgclip.bench.timing import Work, alternate, matmul_peak, wait_for_gpu
from mgclip.clip.compute import Compute, Precision, fitting_micro_batch
from mgclip.clip.parallel import local_device

LARGEST_BATCH = 128
"""Images per pass on a GPU by default, or fewer if they do not fit."""
CPU_BATCH = 16
"""Images per pass on a CPU by default."""


class PassSpeed(TypedDict):
    """One kind of pass: of this package (``ours``) and of the naive implementation (``plain``), in images per second.

    ``share_of_peak`` is that of this package. ``memory`` are the bytes that its pass allocates on a GPU at most, weights
    included; 0 on a CPU.
    """

    ours: float
    plain: float
    share_of_peak: float
    memory: int


class PrecisionSpeed(TypedDict):
    """The speed at a precision; ``matmul_peak``: operations per second of large square products."""

    precision: Precision
    matmul_peak: float
    training: PassSpeed
    encoding: PassSpeed


def default_batch(shape: str) -> int:
    """Images per measured pass of a shape on this device."""
    device = local_device()
    if device.type == "cpu":
        return CPU_BATCH
    return min(LARGEST_BATCH, fitting_micro_batch(make_config(shape).vision_config, device, checkpointing=False))


def precision_speeds(shape: str, precisions: Sequence[Precision], *, rounds: int, images: int) -> list[PrecisionSpeed]:
    """Measure training and encoding of a shape of ``SHAPES`` at several precisions, in passes of ``images`` images that start in
    the memory of the CPU.
    """
    backbone, naive = make_both(shape)
    config: Any = backbone.model.config
    found: list[PrecisionSpeed] = []
    for precision in precisions:
        backbone.compute, naive.compute = Compute(precision), Compute(precision)
        peak = matmul_peak(precision, rounds)
        passes = {}
        for name, train in (("training", True), ("encoding", False)):
            work = image_work(backbone, images, train=train)
            times = alternate({"ours": work, "plain": image_work(naive, images, train=train)}, rounds)
            ours, plain = (images / statistics.median(times[who]) for who in ("ours", "plain"))
            passes[name] = PassSpeed(
                ours=ours,
                plain=plain,
                share_of_peak=image_flops(config, training=train) * ours / peak,
                memory=allocated(work, backbone.model, naive.model),
            )
        found.append(
            {"precision": precision, "matmul_peak": peak, "training": passes["training"], "encoding": passes["encoding"]}
        )
    return found


def allocated(work: Work, own: torch.nn.Module, other: torch.nn.Module) -> int:
    """The bytes on the GPU at the peak of a call, without those of another model; 0 on a CPU."""
    device = next(own.parameters()).device
    if device.type != "cuda":
        return 0
    wait_for_gpu()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    wait_for_gpu()
    return torch.cuda.max_memory_allocated(device) - sum(weight.numel() * weight.element_size() for weight in other.parameters())
