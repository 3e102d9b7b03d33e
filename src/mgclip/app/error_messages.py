"""What a failure of the machine is called: one sentence with what happened and what to do."""

from __future__ import annotations

import errno
import re
import sys

from mgclip.disk import FULL

FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def describe_error(error: BaseException) -> str:
    """A sentence for an error nobody has foreseen, of one that the system names as far as it can be told."""
    what = " ".join(str(error).split()) or "no message"
    number, place = _system_error(error)
    if number in FULL:
        return (
            f"There is no space left on the disk{place}: what was there is as it was; free some and do the same again."
        )
    if number in FORBIDDEN:
        return f"The system does not allow writing or reading{place} ({what}): allow it and do the same again."
    if number == errno.ENAMETOOLONG:
        return f"A file name is longer than the system allows ({what}): give a shorter one."
    if number == errno.EMFILE:
        return "Too many files are open at once: raise the limit (ulimit -n) and do the same again."
    if _memory_ran_out(error):
        return f"Memory ran out ({what}): free some, or set a smaller micro_batch_size or encode_batch_size."
    return f"unexpected {type(error).__name__}: {what} (run  mgclip --debug ...  for the traceback)"


def _system_error(error: BaseException) -> tuple[int | None, str]:
    """The system's number of an error, of itself or of what it came from, and where it was met, if that is known."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen.errno, f" at {seen.filename}" if seen.filename else ""
        if found := re.search(r"\(os error (\d+)\)", str(seen)):  # of a library that is not written in Python
            return int(found[1]), ""
        seen = seen.__cause__ or seen.__context__
    return None, ""


def _memory_ran_out(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from mgclip.clip.compute import out_of_memory

    return out_of_memory(error)
