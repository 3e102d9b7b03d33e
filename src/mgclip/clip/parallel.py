"""Several processes as one: their number, sums and rows across all of them. With one process everything here does nothing.

``accelerate launch`` or ``torchrun`` starts the processes; accelerate connects them (NCCL on GPUs, gloo on processors). Each
holds the complete model and the same state. Images are shared out, and results are summed or gathered, so that the state stays
the same everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from mgclip.errors import InputError, MGCLIPError

TIMEOUT = timedelta(hours=2)
"""How long one process waits for the others. A process that dies ends the others at once; this is for slow disks only."""


def is_distributed() -> bool:
    """Whether this process is one of several that work together.

    The number of processes alone does not tell: clusters and containers set ``WORLD_SIZE`` for ordinary processes, too. It counts
    in a process that torchrun or accelerate launch started, or that is connected to others already.
    """
    if _number("WORLD_SIZE", 1) < 2 or not torch.distributed.is_available():
        return False
    return torch.distributed.is_torchelastic_launched() or torch.distributed.is_initialized()


def _number(variable: str, otherwise: int) -> int:
    """The whole number that an environment variable holds."""
    value = os.environ.get(variable, "").strip()
    return int(value) if value.isdecimal() else otherwise


def _state() -> Any:
    """The processes as accelerate sees them. Raises ``MGCLIPError`` if they did not find each other."""
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=TIMEOUT)
    if state.num_processes != _number("WORLD_SIZE", 1):
        raise MGCLIPError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']} and {state.num_processes} processes found each other: start them with "
            "torchrun or accelerate launch, or unset WORLD_SIZE."
        )
    return state


def rank_and_world_size() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if not is_distributed():
        return 0, 1
    state = _state()
    return int(state.process_index), int(state.num_processes)


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return not is_distributed() or _number("RANK", 0) == 0


def gather_items(items: Sequence[Any]) -> list[Any]:
    """The items of all processes in one list, in the order of the processes."""
    if not is_distributed():
        return list(items)
    from accelerate.utils import gather_object

    _state()
    return list(gather_object(list(items)))


def check_same_in_all_processes(what: str, facts: Any) -> None:
    """See that all processes work on the same data. Raises ``InputError`` in all of them if their ``facts`` about it differ."""
    if any(other != facts for other in gather_items([facts])):
        raise InputError(
            f"The processes share one {what} and were given different ones: give all of them the same data."
        )


def local_device() -> torch.device:
    """The GPU of this process; the processor if there is no GPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", _number("LOCAL_RANK", 0) % torch.cuda.device_count())


def wait() -> None:
    """Return when all processes have called this."""
    if is_distributed():
        _state().wait_for_everyone()


def shard(items: Tensor) -> Tensor:
    """The part of this process of ``(n,)`` items; parts follow each other in the order of processes, and may be empty."""
    rank, count = rank_and_world_size()
    return items if count == 1 else items.tensor_split(count)[rank]


def sum_over_processes(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, in one exchange."""
    if not is_distributed() or not tensors:
        return
    from accelerate.utils import reduce

    flat = torch.cat([tensor.detach().flatten().float() for tensor in tensors]).to(_state().device)
    whole = reduce(flat, "sum").to(tensors[0].device)
    for tensor, part in zip(tensors, whole.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(part.view_as(tensor))


def gather_rows(rows: Tensor) -> Tensor:
    """The rows ``(m, d)`` of all processes, in their order: the whole of what ``shard`` shared out."""
    if not is_distributed():
        return rows
    from accelerate.utils import gather, pad_across_processes

    _, count = rank_and_world_size()
    here = rows.contiguous().to(_state().device)
    sizes = gather(torch.tensor([len(here)], device=here.device))
    padded = gather(pad_across_processes(here, dim=0)).view(count, -1, *rows.shape[1:])
    return torch.cat([part[:size] for part, size in zip(padded, sizes.tolist(), strict=True)]).to(rows.device)


def broadcast_float(value: float) -> float:
    """The value that the first process has: for decisions that must not differ by a rounding error."""
    if not is_distributed():
        return value
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([value], dtype=torch.float64, device=_state().device))[0])
