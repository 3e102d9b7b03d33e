"""The standard streams of a command: any encoding, closed or not, and JSON in it."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from typing import Any


def prepare_streams() -> None:
    """Make output safe: what an encoding cannot hold is written as an escape, and a closed stream as nowhere.

    File names need not be UTF-8: their bytes are written as they are.
    """
    codecs.register_error("mgclip", _escaped)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this; its number must not become a file's
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape" if mode == "r" else "mgclip")


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError):
        error.end = error.start + 1  # letter by letter, for each may be of another kind
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def print_json(value: Any) -> None:
    """One line of JSON on standard output; letters as they are if the encoding can hold all of them, or as JSON's escapes."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    print(json.dumps(value, ensure_ascii=not encoding.startswith("utf")), flush=True)
