"""Peak memory of training steps, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import sys
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

from typing_extensions import TypedDict

from mgclip.errors import InputError, MGCLIPError


class Peak(TypedDict):
    """The peak memory of training at a batch size, in bytes; NaN if the system stopped the process for lack of memory."""

    batch: int
    micro_batch: int
    peak: float


def training_peak(shape: str, batch: int) -> Peak:
    """The peak memory of a process that makes a training step: resident, or allocated on the GPU.

    Raises:
        InputError: If the system does not say how much memory a process has had.
        MGCLIPError: If the process fails.
    """
    if find_spec("resource") is None:
        raise InputError("--memory needs Linux or macOS: leave it out on this system.")
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(shape, batch, send))
    process.start()
    send.close()
    try:
        peak, micro_batch = receive.recv()
    except EOFError:
        process.join()
        if (process.exitcode or 0) > 0:
            raise MGCLIPError("The process that measures memory has failed: its own message says why.") from None
        peak, micro_batch = float("nan"), 0
    process.join()
    return {"batch": batch, "micro_batch": micro_batch, "peak": peak}


def _train(shape: str, batch: int, send: Connection) -> None:
    import torch

    from mgclip.bench.shapes import make_backbone
    from mgclip.clip.pixels import PreparedImages
    from mgclip.method.adapter_phase import adapter_phase, task_objective, train_adapters
    from mgclip.method.learner import MGCLIP
    from mgclip.method.settings import Settings
    from mgclip.method.task import TaskData

    backbone, settings = make_backbone(shape), Settings(adapter_batch_size=batch, epochs=1)
    model = MGCLIP(backbone, settings)
    side = backbone.image_size
    pixels = PreparedImages.of(torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8))
    names = tuple(f"class number {i}" for i in range(10))
    task = TaskData(0, pixels, torch.arange(batch) % 10, names, names)
    objective = task_objective(backbone, task, settings)
    train_adapters(model.backbone, objective, adapter_phase(settings, 0, 1), on_step=lambda step: None)
    peak = torch.cuda.max_memory_allocated(backbone.device) if backbone.device.type == "cuda" else resident_peak()
    send.send((float(peak), min(backbone.compute.micro_batch, batch)))


def resident_peak() -> int:
    """The peak resident memory of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would include the memory inherited from the parent process
        lines = status.read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    import resource  # Windows has no such module

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
