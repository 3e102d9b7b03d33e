"""Change settings of the whole process while this package needs it, and then restore those of the caller."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from threading import Lock


class WhileInside:
    """A context that is entered once while any thread is inside, for settings that all threads share."""

    def __init__(self, context: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._make, self._lock, self._inside = context, Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._context = self._make()
                self._context.__enter__()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._context.__exit__(None, None, None)

    def __reduce__(self) -> tuple[type[WhileInside], tuple[Callable[[], contextlib.AbstractContextManager[None]]]]:
        """A copy has its own lock, and no thread is inside."""
        return WhileInside, (self._make,)


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


NO_WARNINGS = WhileInside(_no_warnings)
"""Ignore all warnings. ``warnings.catch_warnings`` alone is not safe in threads: if they overlap, the filters of one stay for
ever.
"""


@contextlib.contextmanager
def _quiet(library: str, level: int) -> Iterator[None]:
    """Let a library of Hugging Face show no progress bars, and no messages below a level of ``logging``."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars

    of_library = import_module(f"{library}.utils.logging")
    verbosity, bars = of_library.get_verbosity(), of_library.is_progress_bar_enabled()
    no_downloads = are_progress_bars_disabled()  # transformers turns the bars of downloads on and off too
    of_library.set_verbosity(quieter := max(level, verbosity))
    of_library.disable_progress_bar()
    try:
        yield
    finally:
        if of_library.get_verbosity() == quieter:  # otherwise the caller, or a generator that ended inside, has set another one
            of_library.set_verbosity(verbosity)
        if bars:
            of_library.enable_progress_bar()
        if no_downloads:
            disable_progress_bars()


QUIET_TRANSFORMERS = WhileInside(partial(_quiet, "transformers", logging.ERROR))
QUIET_DATASETS = WhileInside(partial(_quiet, "datasets", logging.NOTSET))
SILENT_DATASETS = WhileInside(partial(_quiet, "datasets", logging.CRITICAL))
"""For errors that are raised, and that the library would also print."""
