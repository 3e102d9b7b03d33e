"""Distributed helpers: rank, sums, gathering. With one process they do nothing.

``accelerate launch`` or ``torchrun`` starts the processes; accelerate connects them, with NCCL if each has a GPU, otherwise with
gloo. Each process has the complete model and the same state. The images are sharded and the results summed or gathered, so the
states stay equal.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from mgclip.errors import InputError, MGCLIPError

DEVICE = "MGCLIP_DEVICE"
"""The environment variable that names the device to compute on, as ``--device`` does."""

TIMEOUT = timedelta(hours=2)
"""How long a process waits for the others. A process that dies ends the others at once, so this matters for slow disks only."""


def is_distributed() -> bool:
    """Whether this process is one of several that work together.

    ``WORLD_SIZE`` alone does not decide, because clusters and containers also set it for ordinary processes. It counts if
    torchrun or accelerate launch started this process, or if it is already connected to others.
    """
    if _number("WORLD_SIZE", 1) < 2 or not torch.distributed.is_available():
        return False
    return torch.distributed.is_torchelastic_launched() or torch.distributed.is_initialized()


def _number(variable: str, default: int) -> int:
    """The whole number in an environment variable."""
    value = os.environ.get(variable, "").strip()
    return int(value) if value.isdecimal() else default


def _state() -> Any:
    """The state of accelerate. Raises ``MGCLIPError`` if the processes are not connected to each other."""
    from accelerate import PartialState

    on_cpu = local_device().type == "cpu"
    if not torch.distributed.is_initialized():
        atexit.register(_disconnect)
    state = PartialState(cpu=on_cpu, timeout=TIMEOUT, backend="gloo" if not on_cpu and _needs_gloo() else None)
    if state.num_processes != _number("WORLD_SIZE", 1):
        raise MGCLIPError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the number of connected processes is {state.num_processes}: start "
            "them with `torchrun` or `accelerate launch`, or unset WORLD_SIZE."
        )
    return state


def _disconnect() -> None:
    """Disconnect this process from the others before Python ends, if gloo connects them.

    The threads of gloo may still hold tensors of the last exchange. If they release them while Python ends, the process is
    aborted (SIGABRT) although its work is done. NCCL has no such threads, and a process that fails must not wait for the others
    in it.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()


def _needs_gloo() -> bool:
    """Whether gloo connects processes with GPUs: if the program chose it, or if some share a GPU, which NCCL refuses."""
    if torch.distributed.is_initialized():
        return bool(torch.distributed.get_backend() == "gloo")
    return _number("LOCAL_WORLD_SIZE", 1) > torch.cuda.device_count()


def _exchange_device() -> torch.device:
    """Where tensors are exchanged: on the GPU, or on the CPU through gloo."""
    state = _state()
    return torch.device("cpu") if torch.distributed.get_backend() == "gloo" else state.device


def rank_and_world_size() -> tuple[int, int]:
    """Return the number of this process and the number of processes."""
    if not is_distributed():
        return 0, 1
    state = _state()
    return int(state.process_index), int(state.num_processes)


def is_main() -> bool:
    """Whether this process is the one that writes files and prints."""
    return not is_distributed() or _number("RANK", 0) == 0


def gather_items(items: Sequence[Any]) -> list[Any]:
    """Return the items of all processes in one list, in the order of the processes."""
    if not is_distributed():
        return list(items)
    from accelerate.utils import gather_object

    _state()
    return list(gather_object(list(items)))


def check_same_in_all_processes(what: str, facts: Callable[[], object]) -> None:
    """Check that all processes have the same data. Raises ``InputError`` in all of them if their ``facts`` about it differ. One
    process alone does not need them.
    """
    if not is_distributed():
        return
    own = facts()
    if any(other != own for other in gather_items([own])):
        raise InputError(f"All processes must be given the same {what}, but theirs differ: give all of them the same data.")


def local_device() -> torch.device:
    """Return the device that ``MGCLIP_DEVICE`` names, otherwise the GPU of this process, or the CPU if there is no GPU."""
    name = os.environ.get(DEVICE, "").strip()
    chosen = checked_device(name) if name else None
    if chosen is not None and name != "cuda":  # of several processes, each has a GPU of its own
        return chosen
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", _number("LOCAL_RANK", 0) % torch.cuda.device_count())


def device_name(device: torch.device) -> str:
    """What records call a device: the name of a GPU, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def checked_device(device: str | torch.device) -> torch.device:
    """Return a device. Raises ``InputError`` if this machine does not have it, or if it has no double precision."""
    try:
        return torch.zeros(1, dtype=torch.float64, device=device).device
    except (RuntimeError, AssertionError, TypeError, NotImplementedError):
        usable = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise InputError(f"The device {str(device)!r} cannot be used on this machine: choose from {', '.join(usable)}.") from None


def wait() -> None:
    """Wait until all processes have called this."""
    if is_distributed():
        device = _exchange_device()  # accelerate would use the GPU with the number of the process, even if processes share GPUs
        torch.distributed.barrier(device_ids=None if device.type == "cpu" else [device.index])


def shard(items: Tensor) -> Tensor:
    """Return this process's part of ``(n,)`` items. Parts are consecutive, in the order of the processes, and may be empty."""
    rank, count = rank_and_world_size()
    return items if count == 1 else items.tensor_split(count)[rank]


def sum_over_processes(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, with one reduction for all of them."""
    for tensor, total in zip(tensors, summed_over_processes(tensors), strict=True):
        if total is not tensor:
            tensor.detach().copy_(total)


def summed_over_processes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the sum of each tensor over all processes, with one reduction for all of them; in double precision if one has it."""
    if not is_distributed() or not tensors:
        return list(tensors)
    from accelerate.utils import reduce

    kind = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    flat = torch.cat([tensor.detach().flatten().to(kind) for tensor in tensors]).to(_exchange_device())
    total = reduce(flat, "sum").to(tensors[0].device).split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for tensor, part in zip(tensors, total, strict=True)]


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows ``(m, d)`` of all processes, in the order of the processes. Undoes ``shard``."""
    if not is_distributed():
        return rows
    from accelerate.utils import gather, pad_across_processes

    _, count = rank_and_world_size()
    own = rows.contiguous().to(_exchange_device())
    sizes = gather(torch.tensor([len(own)], device=own.device))
    padded = gather(pad_across_processes(own, dim=0)).view(count, -1, *rows.shape[1:])
    return torch.cat([part[:size] for part, size in zip(padded, sizes.tolist(), strict=True)]).to(rows.device)


def broadcast_float(value: float) -> float:
    """Return the value of the first process, for decisions that must not differ by a rounding error."""
    if not is_distributed():
        return value
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([value], dtype=torch.float64, device=_exchange_device()))[0])
