"""Files at addresses, which fsspec opens: what is known about one, and whether a failure is its own or that of the network.

File systems also report that a file is not found if its server cannot be reached, and name the reason as the cause of the error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any, TypeVar

from mgclip.errors import first_line
from mgclip.system_errors import is_system_error

REQUESTS = 16
"""Files that are asked about at the same time."""
ABSENT = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
"""What servers answer if there is no such file."""
NETWORK = re.compile("Connect|Timeout|Offline|Network|SSL|Payload|IncompleteRead|ProtocolError")
"""What the names of errors of the network contain. Each library has its own, and several of them may not be installed."""

NO_PARTS = re.compile("range requests|Cannot seek streaming")
"""What fsspec says if a web server gives a file only from its beginning."""
SILENCE = 300
"""Seconds without an answer after which a web server counts as lost."""

File = TypeVar("File")
Result = TypeVar("Result")


def is_address(name: str) -> bool:
    """Return whether a name is an address, not a path."""
    return "://" in name


def about(address: str) -> dict[str, Any]:
    """Return what a file system says about a file without reading it, such as its size. Raises what the file system raises."""
    import fsspec

    system, path = fsspec.core.url_to_fs(address)
    return dict(system.info(path))


class StreamedFile:
    """A file at an address that is read once, from its first byte to its last.

    A web server is asked for one part after the other, because reading may pause for longer than it keeps a connection open. If
    it gives no parts, as Python's own does, it is asked for the complete file.
    """

    def __init__(self, address: str) -> None:
        self.address, self.opened = address, ExitStack()
        self.file = self._open()

    def __enter__(self) -> StreamedFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.opened.close()

    def read(self, size: int = -1) -> bytes:
        """Read at most ``size`` bytes; all if it is negative."""
        try:
            data: bytes = self.file.read(size)
        except ValueError as error:
            if not NO_PARTS.search(str(error)):
                raise
            left = self.file.tell()
            self.file = self._open(block_size=0)
            while left and (skipped := self.file.read(left)):
                left -= len(skipped)
            data = self.file.read(size)
        return data

    def _open(self, **options: Any) -> Any:
        import fsspec

        if self.address.startswith(("http://", "https://")):
            import aiohttp

            # By default, a file of which the end is not read within five minutes is given up.
            patient = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
            system, _ = fsspec.core.url_to_fs(self.address)  # has what the user's configuration of fsspec sets, such as a login
            options["client_kwargs"] = {"timeout": patient, **system.client_kwargs}
        return self.opened.enter_context(fsspec.open(self.address, "rb", **options))


def status_of(error: BaseException) -> int | None:
    """Return the status with which a server refused a file; None if no server did."""
    for each in _with_causes(error):
        for holder in (each, getattr(each, "response", None)):
            for found in (getattr(holder, "status", None), getattr(holder, "status_code", None)):
                if isinstance(found, int) and found >= HTTPStatus.BAD_REQUEST:
                    return found
    return None


def failure(error: BaseException, address: str = "") -> str:
    """Return why a file could not be reached; empty if it does not exist, or if something else is wrong with it.

    Args:
        error: What was raised.
        address: The address of the file, if the error may lack its cause. Its server is then asked again.
    """
    if (status := status_of(error)) is not None:
        return "" if status in ABSENT else _described(status)
    for each in _with_causes(error):
        if any(NETWORK.search(kind.__name__) for kind in type(each).__mro__) or (
            isinstance(each, Exception) and is_system_error(each)
        ):
            return first_line(each)
    if is_address(address) and isinstance(error, FileNotFoundError):
        try:
            about(address)
        except Exception as again:  # file systems raise network and login errors of their own
            return failure(again)
    return ""


def ask(question: Callable[[File], Result], files: Iterable[File]) -> list[Result]:
    """Ask about files, several at a time; returns the answers in order. Raises what the first question raised."""
    pool = ThreadPoolExecutor(REQUESTS)
    try:
        return list(pool.map(question, files))
    finally:
        pool.shutdown(cancel_futures=True)  # an error or an interrupt must not wait for thousands of files


def _described(status: int) -> str:
    known = {each.value: each.phrase for each in HTTPStatus}
    return f"HTTP status {status}: {known[status]}" if status in known else f"HTTP status {status}"


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
