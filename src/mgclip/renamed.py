"""Keyword arguments by their former names, which work for one more release."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def accepts_former_names(**renamed: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Let a function take keyword arguments by their former names, with a warning. ``renamed``: former name -> name."""

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Result:
            for former in renamed.keys() & options.keys():
                name = renamed[former]
                if name in options:
                    raise TypeError(f"{former}= is the former name of {name}=: give one of them")
                warnings.warn(f"{former}= is now called {name}=.", DeprecationWarning, stacklevel=2)
                options[name] = options.pop(former)
            return function(*args, **options)

        return call

    return decorate
