"""Several processes as one: who am I, sums and rows across all. With one process everything here does nothing.

Processes are started by ``accelerate launch`` or ``torchrun``; accelerate sets them up (NCCL on GPUs, gloo on processors). Each
holds the whole model and the same state; images are shared out, and what each found is summed or gathered, so that all go on
alike.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mgclip.errors import MGCLIPError


def launched() -> bool:
    """Whether this process is one of several, by what the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _state() -> Any:
    """The processes as accelerate sees them. Raises ``MGCLIPError`` where they do not find each other."""
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    if state.num_processes != int(os.environ["WORLD_SIZE"]):
        raise MGCLIPError(
            f"{os.environ['WORLD_SIZE']} processes were started and {state.num_processes} found each other: start them with "
            "torchrun or accelerate launch."
        )
    return state


def place() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if not launched():
        return 0, 1
    state = _state()
    return int(state.process_index), int(state.num_processes)


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return not launched() or int(os.environ.get("RANK", "0")) == 0


def from_main(value: Any) -> Any:
    """What the process that writes has for ``value``, in all of them."""
    if not launched():
        return value
    from accelerate.utils import broadcast_object_list

    _state()
    return broadcast_object_list([value])[0]


def own_device() -> torch.device:
    """The GPU of this process where there is one."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def wait() -> None:
    """Go on when all have come here."""
    if launched():
        _state().wait_for_everyone()


def share(items: Tensor) -> Tensor:
    """The part of this process of ``(n,)`` items; parts follow each other in the order of processes, and may be empty."""
    rank, count = place()
    return items if count == 1 else items.tensor_split(count)[rank]


def sum_across(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, in one exchange."""
    if not launched() or not tensors:
        return
    from accelerate.utils import reduce

    flat = torch.cat([tensor.detach().flatten().float() for tensor in tensors]).to(_state().device)
    whole = reduce(flat, "sum").to(tensors[0].device)
    for tensor, part in zip(tensors, whole.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(part.view_as(tensor))


def gather_rows(rows: Tensor) -> Tensor:
    """The rows ``(m, d)`` of all processes, in their order: the whole of what ``share`` shared out."""
    if not launched():
        return rows
    from accelerate.utils import gather, pad_across_processes

    _, count = place()
    here = rows.contiguous().to(_state().device)
    sizes = gather(torch.tensor([len(here)], device=here.device))
    padded = gather(pad_across_processes(here, dim=0)).view(count, -1, *rows.shape[1:])
    return torch.cat([part[:size] for part, size in zip(padded, sizes.tolist(), strict=True)]).to(rows.device)


def agree(value: float) -> float:
    """The value that the first process has: for decisions that must not differ by a rounding error."""
    if not launched():
        return value
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([value], dtype=torch.float64, device=_state().device))[0])
