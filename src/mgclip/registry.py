"""Methods and data sets by name: those of this package, those that a program registers, and those of other installed packages.

A package offers its own with an entry point, whose name is the name of the method or data set. It is loaded when it is used.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from mgclip.errors import InputError, MGCLIPError, first_line

Entry = TypeVar("Entry")

OWN_PACKAGE = "mg-clip"
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
"""Names are also names of folders, and the beginning of settings in recipes."""


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries of one kind by name: those of this package first, in their order.

    Args:
        what: What an entry is, for messages: ``method``.
        group: The group of the entry points.
        kind: The type of an entry.
        built_in: The entries of this package.
        check: Raises ``ValueError`` with the reason if an entry cannot be used.
    """

    def __init__(
        self,
        what: str,
        group: str,
        kind: type[Entry],
        built_in: Mapping[str, Entry],
        check: Callable[[Entry], None] = lambda entry: None,
    ) -> None:
        self.what, self.group, self.kind, self.check = what, group, kind, check
        self._built_in = frozenset(built_in)
        self._entries = dict(built_in)
        self._packages = dict.fromkeys(built_in, OWN_PACKAGE)

    def register(self, name: str, entry: Entry, package: str) -> None:
        """Add an entry of a package, or replace one that was registered before.

        Args:
            name: Its name.
            entry: The entry.
            package: The package that it comes from, for messages.

        Raises:
            InputError: If this package has an entry of that name, or the name or the entry cannot be used.
        """
        source = f"The {self.what} {name!r} of the package {package}"
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise InputError(f"{source} needs another name: use lower-case letters, digits and hyphens.")
        if name in self._built_in:
            raise InputError(f"{source} has the name of a {self.what} of {OWN_PACKAGE}: give it another name.")
        if not isinstance(entry, self.kind):
            raise InputError(f"{source} must be a {self.kind.__name__}; found {type(entry).__name__}.")
        try:
            self.check(entry)
        except (ValueError, MGCLIPError) as error:
            raise InputError(f"{source} cannot be used: {first_line(error)}.") from error
        self._entries[name], self._packages[name] = entry, package

    def package(self, name: str) -> str:
        """The package that an entry comes from."""
        self[name]
        return self._packages[name]

    def described(self, name: str) -> str:
        """An entry with its origin: *the method name of the package shop*."""
        package = self.package(name)
        return f"the {self.what} {name} of " + ("this program" if package == "__main__" else f"the package {package}")

    @contextlib.contextmanager
    def naming_errors(self, name: str, action: str) -> Iterator[None]:
        """Run code of an entry; an error in the code of another package becomes one that names the entry and its package.

        Errors of this package, of its own entries and of the system stay as they are. A missing file is not one of the system,
        and neither is an error of a decoder, which has no number.

        Args:
            name: The name of the entry.
            action: What it does; completes the sentence *the method failed when it ...*.

        Raises:
            MGCLIPError: If the code of another package fails with another error.
        """
        try:
            yield
        except Exception as error:
            of_the_system = isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError)
            if name in self._built_in or isinstance(error, MGCLIPError) or of_the_system:
                raise
            entry, cure = self.described(name), "report it to the authors of that package"
            raise MGCLIPError(
                f"{entry[0].upper()}{entry[1:]} failed when it {action} ({type(error).__name__}: {first_line(error)}): "
                f"{'correct it' if entry.endswith('this program') else cure}; `mgclip --debug ...` shows the traceback."
            ) from error

    def loaded(self) -> list[str]:
        """The names of the entries that are loaded: those of this package, and others that were used."""
        return list(self._entries)

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            self._load(name)
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        yield from list(self._entries)
        yield from sorted(self._offered().keys() - self._entries.keys())

    def __len__(self) -> int:
        return len(self._entries.keys() | self._offered().keys())

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._offered()

    def _offered(self) -> dict[str, list[EntryPoint]]:
        """The entry points of installed packages by name."""
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            found.setdefault(point.name, []).append(point)
        return found

    def _load(self, name: str) -> None:
        """Load the entry of an installed package. Raises ``KeyError`` if no package offers it, ``InputError`` if it fails."""
        points = self._offered().get(name)
        if points is None:
            raise KeyError(name)
        packages = sorted({_package_of(point) for point in points})
        if len(packages) > 1:
            raise InputError(f"The packages {' and '.join(packages)} both offer the {self.what} {name}: uninstall one of them.")
        try:
            entry = points[0].load()
        except Exception as error:  # any error of the other package's code
            raise InputError(
                f"The {self.what} {name} of the package {packages[0]} cannot be loaded from {points[0].value} "
                f"({type(error).__name__}: {first_line(error)}): repair or uninstall that package."
            ) from error
        self.register(name, entry, packages[0])


def _package_of(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module.partition(".")[0]


def caller_package() -> str:
    """The package whose code called the function that calls this."""
    frame = inspect.currentframe()
    caller = frame.f_back.f_back if frame is not None and frame.f_back is not None else None
    name = "" if caller is None else str(caller.f_globals.get("__name__", ""))
    return name.partition(".")[0] or "an unknown module"
