"""The standard streams of a command: any encoding, open or closed, and JSON output."""

from __future__ import annotations

import codecs
import errno
import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from mgclip.errors import MGCLIPError

WINDOWS = os.name == "nt"


def prepare_streams() -> None:
    """Make the standard streams accept anything: escape characters that the encoding lacks, and replace closed streams.

    File names need not be UTF-8; their bytes are written unchanged.
    """
    codecs.register_error("mgclip", _escaped)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream, errors = getattr(sys, name), "surrogateescape" if mode == "r" else "mgclip"
        if stream is None:  # closed by the caller; otherwise the next file opened would get its number
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8", errors=errors))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError):
        error.end = error.start + 1  # one character at a time, because each may need another escape
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def show_log(*, shown: bool) -> None:
    """Show what the package logs, such as the precision that was chosen for this machine, on standard error, or hide it."""
    log = logging.getLogger("mgclip")
    log.handlers = [logging.StreamHandler(sys.stderr)] if shown else []
    log.setLevel(logging.INFO if shown else logging.NOTSET)


def discard_output(stream: IO[str]) -> None:
    """Discard further output of a stream, because the reader of its pipe is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextmanager
def writing(stream: IO[str]) -> Iterator[None]:
    """Write to a stream. Raises ``MGCLIPError`` if that fails, as on a full disk; a closed pipe stays an ``OSError``."""
    try:
        yield
    except OSError as error:
        if _is_closed_pipe(error):
            raise
        discard_output(stream)  # what is left in its buffer would fail again when the interpreter exits
        raise MGCLIPError(
            f"The output cannot be written ({error.strerror}): free some space or write it elsewhere; if the command changes a "
            "model, `mgclip history` shows whether it has."
        ) from error


@contextmanager
def end_on_closed_pipe() -> Iterator[None]:
    """End quietly and with success if the reader of the output closes its pipe, as ``head`` does."""
    try:
        yield
        with writing(sys.stdout):
            sys.stdout.flush()
    except OSError as error:
        if not _is_closed_pipe(error):
            raise
        discard_output(sys.stdout)


def _is_closed_pipe(error: OSError) -> bool:
    return isinstance(error, BrokenPipeError) or (error.errno == errno.EINVAL and WINDOWS)  # how Windows reports it


def print_json(value: Any) -> None:
    """Print one line of JSON. Characters outside ASCII are escaped unless the encoding of the output has all of them."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    with writing(sys.stdout):
        print(json.dumps(value, ensure_ascii=not encoding.startswith("utf")), flush=True)
