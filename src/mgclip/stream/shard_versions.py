"""What identifies the content of a shard, so that a command that resumes detects a changed one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mgclip.stream.class_list import class_list, forget_class_lists
from mgclip.stream.remote import about, ask, is_address
from mgclip.stream.shards import Shard, ending

FACTS = ("size", "etag", "mtime", "lastmodified", "updated", "created", "generation", "contentmd5", "md5hash", "digest", "blobid")
"""What file systems call the facts by which a changed file is recognised, in lower case and without hyphens and underscores."""


class ShardVersion(NamedTuple):
    """What identifies a shard when a command resumes: its name, where its classes are, what its storage says about it, and a
    digest of the list of class names next to it.
    """

    name: str
    label: str
    facts: tuple[tuple[str, str], ...]
    class_list: str = ""

    @property
    def is_known(self) -> bool:
        """Whether a change of the shard shows."""
        return any(key != "size" for key, _ in self.facts)


def shard_versions(shards: Sequence[Shard]) -> list[ShardVersion]:
    """Ask for the size of each shard, and when it was written or a digest of it. Storage that cannot be asked gives no facts."""
    forget_class_lists()
    return ask(_version, shards)


def _version(shard: Shard) -> ShardVersion:
    return ShardVersion(shard.name, shard.label, _facts(shard.name), _digest_of_classes(shard.name))


def _digest_of_classes(name: str) -> str:
    """A digest of the list of class names next to a tar shard; empty without a list."""
    try:
        names = [] if ending(name) == ".parquet" else class_list(name)
    except Exception:  # reading raises it again if it needs the list
        return ""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16] if names else ""


def _facts(name: str) -> tuple[tuple[str, str], ...]:
    try:
        if not is_address(name):
            of_file = Path(name).stat()
            times = ("mtime", str(of_file.st_mtime_ns)), ("ctime", str(of_file.st_ctime_ns))  # copying can restore the first one
            return ("size", str(of_file.st_size)), *times
        found = {re.sub(r"[-_]", "", key).lower(): value for key, value in about(name).items()}
    except Exception:  # file systems raise network and login errors of their own, and reading raises them again
        return ()
    return tuple((key, str(found[key])) for key in FACTS if found.get(key) is not None)
