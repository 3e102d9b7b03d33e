"""Run code with the ordinary modes of PyTorch and NumPy, whatever modes the calling program has set."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

from mgclip.while_inside import WhileInside

P = ParamSpec("P")
R = TypeVar("R")

BACKENDS = ("cudnn", "cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv")
"""Parts of ``torch.backends`` with an ``fp32_precision`` of their own, since PyTorch 2.9. ``cudnn`` is the default of the next
three, and ``torch.backends`` is the default of all.
"""


@contextlib.contextmanager
def _default_float32() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _exact_float32() -> Iterator[None]:
    """Multiply float32 numbers exactly. A program can allow TF32 or bfloat16 instead, which have 10 or 7 bits.

    There are two ways to allow it. The older one cannot be read if a program has used the newer one. Both must agree inside,
    because the compiler reads them.
    """
    matmul, convolution = _readable(torch.get_float32_matmul_precision), _readable(lambda: torch.backends.cudnn.allow_tf32)
    with contextlib.ExitStack() as after:
        if hasattr(torch.backends, "fp32_precision"):
            for place, part in enumerate([torch.backends, *(attrgetter(name)(torch.backends) for name in BACKENDS)]):
                after.callback(setattr, part, "fp32_precision", part.fp32_precision)
                part.fp32_precision = "none" if place < 2 else "ieee"  # the first two are defaults of the others
        if matmul is not None:
            after.callback(torch.set_float32_matmul_precision, matmul)
        if convolution is not None:
            after.callback(setattr, torch.backends.cudnn, "allow_tf32", convolution)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        yield


def _readable(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RuntimeError:
        return None


_DEFAULT_FLOAT32 = WhileInside(_default_float32)
EXACT_FLOAT32 = WhileInside(_exact_float32)


@contextlib.contextmanager
def ordinary_modes() -> Iterator[None]:
    """Enable gradients, disable inference mode and autocast, multiply in exact float32, make float32 and the CPU the
    defaults, and use NumPy's default error state.

    The modes of the caller are restored afterwards.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(_DEFAULT_FLOAT32)
        stack.enter_context(EXACT_FLOAT32)
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.empty(0).device.type != "cpu":  # PyTorch 2.6 cannot say it if the default was set to None
            stack.enter_context(torch.device("cpu"))
        yield


def in_ordinary_modes(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to run in the ordinary modes. The caller's modes are restored afterwards."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with ordinary_modes():
            return function(*args, **kwargs)

    return call
