"""Run code with the ordinary modes of PyTorch and NumPy, whatever modes the calling program has set."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from threading import Lock
from typing import ParamSpec, TypeVar

import numpy as np
import torch

P = ParamSpec("P")
R = TypeVar("R")


class _DefaultDtype:
    """Makes float32 the default dtype while any thread is inside. PyTorch has one default for all threads."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                torch.set_default_dtype(self._before)


_FLOAT32 = _DefaultDtype()


@contextlib.contextmanager
def ordinary_modes() -> Iterator[None]:
    """Enable gradients, disable inference mode and autocast, and use float32, the CPU and NumPy's default error state.

    The modes of the caller are restored afterwards.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(_FLOAT32)
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def in_ordinary_modes(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to run in the ordinary modes. The caller's modes are restored afterwards."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with ordinary_modes():
            return function(*args, **kwargs)

    return call
