"""Notice that a run resumes with other code than it was started with: other packages, or a changed method of another package."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import sys
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from mgclip.disk import write_json
from mgclip.environment import version_of
from mgclip.errors import ChangedCode
from mgclip.experiment.schemas import Environment
from mgclip.method.methods import METHODS
from mgclip.registry import OWN_PACKAGE
from mgclip.untrusted import read_json
from mgclip.words import listed

DECISIVE = ("mg-clip", "torch", "transformers", "peft", "numpy", "pillow")
"""The packages whose versions decide results, besides those that methods come from."""


def code_of_methods(methods: Collection[str]) -> dict[str, str]:
    """A digest of each method of another package: its settings of MG-CLIP, the code of its classifier and of all modules of the
    package that the classifier is in.
    """
    return {method: _digest(method) for method in methods if METHODS.package(method) != OWN_PACKAGE}


def changes(started: Environment, methods: Collection[str]) -> list[str]:
    """What has changed since a run was started, such as ``torch 2.6.0 -> 2.7.0``; what it did not record is left out."""
    packages = dict.fromkeys([*DECISIVE, *(METHODS.package(method) for method in methods)])
    before = started.get("packages", {})
    found = [f"{name} {before[name]} -> {now}" for name in packages if before.get(name, now := version_of(name)) != now]
    recorded = started.get("methods", {})
    code = code_of_methods([method for method in methods if method in recorded])
    return [*found, *(f"the code of {METHODS.described(method)}" for method in code if code[method] != recorded[method])]


def warn_of_changes(folder: Path, changed: Collection[str]) -> None:
    """Warn that results of a run may come from different code."""
    if changed:
        warnings.warn(
            f"Since {folder} was started, this has changed: {listed(list(changed))}. Its earlier results are "
            "from before the change: start a new run to compute all tasks with the same code.",
            ChangedCode,
            stacklevel=3,
        )


def record_changes(file: Path, changed: Collection[str]) -> None:
    """Add changes to the environment of a run in ``file``."""
    recorded = read_json(file) if changed else {}
    known = recorded.get("changed", [])
    if new := [change for change in changed if change not in known]:
        write_json(file, {**recorded, "changed": [*known, *new]})


def _digest(method: str) -> str:
    found = METHODS[method]
    flags = json.dumps([found.changes, found.joint, found.replays], sort_keys=True, default=str)
    digest = hashlib.sha256(flags.encode())
    classifier = resolve_name(found.classifier) if isinstance(found.classifier, str) else found.classifier
    for source in (*_sources(found.settings), *_sources(classifier), *_package_sources(classifier)):
        digest.update(source)
    return digest.hexdigest()[:16]


def _sources(kind: Any) -> Iterator[bytes]:
    """The files of a class and of its base classes; in ``__main__`` only the classes, because the rest does not matter."""
    for each in getattr(kind, "__mro__", ()):
        if each.__module__.partition(".")[0] in ("mgclip", "pydantic", "builtins"):
            continue
        try:
            if each.__module__ == "__main__":
                yield inspect.getsource(each).encode("utf-8", "replace")
            else:
                yield Path(inspect.getsourcefile(each) or "").read_bytes()
        except (OSError, TypeError):  # typed at a prompt, or compiled: there is no source
            continue


def _package_sources(classifier: Any) -> Iterator[bytes]:
    """The modules of the package of a classifier, which may use any of them. A module of its own is in no package."""
    package = sys.modules.get(str(getattr(classifier, "__module__", "")).partition(".")[0])
    for folder in sorted(getattr(package, "__path__", ())):
        for file in sorted(Path(folder).rglob("*.py")):
            with contextlib.suppress(OSError):
                yield file.read_bytes()
