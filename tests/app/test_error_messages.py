"""Unexpected errors, described in one sentence."""

import errno
import re

import pytest
import torch

from mgclip.app.error_messages import describe_error


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "/data/run/x")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (full(), "There is no space left on the disk at /data/run/x"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "There is no space left on the disk: "),
        (OSError(errno.EFBIG, "File too large", "x"), r"larger than the system allows at x: raise the limit \(ulimit -f\)"),
        (RuntimeError("I/O error: File too large (os error 27)"), "larger than the system allows: "),
        (OSError(errno.EROFS, "Read-only file system", "x"), r"does not allow reading or writing at x"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many files are open"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), "longer than the system allows"),
        (RuntimeError("unable to open file <m/x> in read-only mode: Too many open files (24)"), "Too many files are open"),
        (RuntimeError("unable to mmap 8 bytes from file <m/x>: Cannot allocate memory (12)"), "Memory ran out"),
        (RuntimeError("Cannot allocate memory (os error 12)"), "Memory ran out"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "set TMPDIR"),
        (MemoryError(), "Memory ran out"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "Memory ran out .*smaller micro_batch_size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "Memory ran out"),
        (RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer"), "Another of the processes .* has ended"),
        (KeyError("x\ny"), r"unexpected KeyError: 'x\\ny' \(run `mgclip --debug"),
    ],
)  # fmt: skip
def test_an_error_is_one_sentence_that_names_it(error, sentence):
    assert re.search(sentence, describe_error(error))
    assert "\n" not in describe_error(error)


def test_the_cause_of_an_error_is_described():
    error = RuntimeError("it could not be saved")
    error.__cause__ = full()
    assert "There is no space left on the disk at /data/run/x" in describe_error(error)
