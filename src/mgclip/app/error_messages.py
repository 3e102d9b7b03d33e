"""Describe an unexpected error in one sentence: what happened and what to do."""

from __future__ import annotations

import errno
import re
import sys

from mgclip.disk import FULL
from mgclip.system_errors import system_number

FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
OTHER_PROCESS = re.compile(r"\bgloo/transport/")
"""What the errors of an exchange between processes contain."""


def describe_error(
    error: BaseException, *, more: str = "run `mgclip --debug ...` for the traceback", again: str = "run the command again"
) -> str:
    """Describe an unexpected error in one sentence, more precisely if it came from the operating system.

    Args:
        error: The error.
        more: Where the traceback is.
        again: What to do when the cause is removed.
    """
    what = " ".join(str(error).split()) or "no message"
    if "No usable temporary directory" in what:
        return f"There is no folder for temporary files that can be written: set TMPDIR to one, and {again}."
    number, place = _system_error(error)
    if number in FULL:
        return f"There is no space left on the disk{place}: existing files are unchanged; free some space and {again}."
    if number == errno.EFBIG:
        return (
            f"A file would be larger than the system allows{place}: raise the limit (ulimit -f) or use another disk, and {again}."
        )
    if number in FORBIDDEN:
        return f"The system does not allow reading or writing{place} ({what}): fix the permissions and {again}."
    if number == errno.ENAMETOOLONG:
        return f"A file name is longer than the system allows ({what}): use a shorter one."
    if number == errno.EMFILE:
        return "Too many files are open at once: raise the limit (ulimit -n) and run the command again."
    if number == errno.ENOMEM or _memory_ran_out(error):
        return f"Memory ran out ({what}): free some, or set a smaller micro_batch_size or encode_batch_size."
    if OTHER_PROCESS.search(what):
        return "Another of the processes that work together has ended or does not answer: see its own message."
    return f"unexpected {type(error).__name__}: {what} ({more})"


def _system_error(error: BaseException) -> tuple[int | None, str]:
    """The system's number of an error or of its cause, and the path, if these are known."""
    seen: BaseException | None = error
    while seen is not None:
        if (number := system_number(seen)) is not None:
            place = getattr(seen, "filename", None)
            return number, f" at {place}" if place else ""
        seen = seen.__cause__ or seen.__context__
    return None, ""


def _memory_ran_out(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from mgclip.clip.compute import out_of_memory

    return out_of_memory(error)
