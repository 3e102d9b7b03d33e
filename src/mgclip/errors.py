"""The errors a user can meet: one sentence each with what was expected, what was found and what to do."""

from __future__ import annotations


class MGCLIPError(Exception):
    """Something failed while running; the command line exits with 1."""

    exit_code = 1


class InputError(MGCLIPError):
    """What the user gave cannot be used; the command line exits with 2."""

    exit_code = 2


class MissingExtra(InputError):
    """An optional dependency is needed and not installed."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"This needs {what}, which is not installed: run  pip install 'mg-clip[{extra}]'")
