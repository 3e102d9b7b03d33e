"""Failures of the machine, such as a missing permission or too many open files, which are no fault of the file that is read."""

from __future__ import annotations

import errno
import re
from pathlib import Path

OF_FILES = (None, errno.EINVAL, errno.EOVERFLOW, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""Numbers of errors that a path or the content of a file can cause. Decoders set no number, except that a damaged image can make
them seek to an impossible position.
"""
OF_LIBRARIES = re.compile(r"\(os error (\d+)\)|file <.*>.*: .*\((\d+)\)")
"""How libraries in Rust, and PyTorch when it opens a file, write the number of an error."""


def system_number(error: BaseException) -> int | None:
    """The number that the system has given to an error; None if it has none."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = OF_LIBRARIES.search(str(error))
    return int(found[1] or found[2]) if found else None


def is_system_error(error: BaseException) -> bool:
    """Whether the machine failed, not the file or its path."""
    return isinstance(error, MemoryError) or system_number(error) not in OF_FILES


def check_opens(file: Path) -> None:
    """Open a file, because safetensors calls each file missing that cannot be opened. Raises ``OSError``."""
    file.open("rb").close()
