"""Shards: files that hold many images each, Parquet or tar (WebDataset), on this machine or elsewhere, read from start to end.

Nothing is unpacked or stored, so a data set may be larger than memory and disk. Addresses such as ``https://`` and ``hf://`` are
opened by fsspec.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePath
from typing import NamedTuple

from mgclip.errors import DamagedShard, InputError, MGCLIPError, first_line
from mgclip.images import MemberImage
from mgclip.stream.class_list import forget_class_lists
from mgclip.stream.folder import TEST_NAMES, TRAIN_NAMES
from mgclip.stream.metadata import fold
from mgclip.stream.parquet_shards import parquet_items
from mgclip.stream.remote import NO_PARTS, about, ask, failure, is_address
from mgclip.stream.tar_shards import tar_items
from mgclip.stream.walk import is_image_name, walk
from mgclip.words import count, listed

TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tb2", ".tar.xz", ".txz", ".tar.lzma", ".tlz")
"""The endings of tar files."""

READERS = {".parquet": parquet_items, **dict.fromkeys(TAR, tar_items)}
"""The reader of files with an ending. It takes a name and where the classes are, and yields bytes or path, class and name of each
image.
"""

UNSUPPORTED = (".tar.zst", ".tzst", ".tar.lz4", ".tar.lz", ".tar.lzo", ".tar.br", ".tar.z", ".taz")
"""The endings of shards that cannot be read. They are refused, because without them only some images would be learned."""

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
"""A range of numbers in a pattern, such as ``{000..127}``."""


class Item(NamedTuple):
    """An image of a shard, not decoded yet, and the name of its class."""

    image: MemberImage
    label: str


@dataclass(frozen=True)
class Shard:
    """One file of a sharded data set.

    Attributes:
        name: Its path or address.
        label: The column, member or key with the class of an image, if it is not found by itself.
    """

    name: str
    label: str = ""

    def __iter__(self) -> Iterator[Item]:
        """Yield its images in order.

        Raises:
            DamagedShard: If it cannot be read to its end. What was read so far is right.
            InputError: If it has no images, or does not say which class they have.
            MGCLIPError: If the machine or the network failed, not the shard.
        """
        last = ""
        try:
            for data, label, member in READERS[ending(self.name)](self.name, self.label):
                yield Item(MemberImage(data, f"{self.name}: {member}"), label)
                last = member
        except MGCLIPError:
            raise
        except ImportError as error:
            raise _needs_package(self.name, error) from None
        except Exception as error:  # fsspec, pyarrow, tarfile and decompressors raise many types
            read = f"after {last}" if last else "at all"
            if is_address(self.name) and NO_PARTS.search(str(error)):
                raise InputError(
                    f"The server of {self.name} gives a file only from its beginning, and Parquet is read in parts: download the "
                    "shards, or give tar shards."
                ) from None
            if why := failure(error, self.name):
                raise MGCLIPError(f"The shard {self.name} cannot be read {read} ({why}): run the command again later.") from error
            absent = isinstance(error, FileNotFoundError)  # some file systems say only which file
            raise DamagedShard(self.name, read, "No such file or directory" if absent else first_line(error)) from None


class Shards(NamedTuple):
    """The shards to learn from, those to measure on, and those that are left out."""

    train: list[Shard]
    test: list[Shard]
    unused: Sequence[Shard] = ()


def ending(name: str) -> str:
    """The ending of a shard; empty if this is the name of something else."""
    path = (name.split("?")[0] if is_address(name) else name).lower()
    return next((end for end in (*READERS, *UNSUPPORTED) if path.endswith(end)), "")


def find_shards(place: str, *, label: str = "") -> Shards | None:
    """Find the shards at a place.

    Args:
        place: A file, a folder of them, a pattern (``*``, ``{000..127}``), or an address or pattern of addresses.
        label: The column, member or key with the class of an image, if it is not found by itself.

    Returns:
        The shards, sorted by name. If *train* is a word in names of files or folders, these shards are learned, and those with
        *test*, *val* or a similar word are measured on; others are left out. None if there is no shard, but maybe a folder of
        images.

    Raises:
        InputError: If no shard matches a pattern or an address, the address cannot be listed, a shard does not exist, cannot be
            opened or is compressed in another way, or some shards are called test and none is called train.
        MGCLIPError: If a server cannot be reached.
    """
    forget_class_lists()
    names = _names(place)
    if not names:
        return None
    if unsupported := [name for name in names if ending(name) in UNSUPPORTED]:
        raise InputError(
            f"The shard {unsupported[0]} is compressed in a way that is not supported (only gzip, bzip2 and xz are): decompress "
            "it, or leave it out."
        )
    parts: dict[str, list[Shard]] = {"train": [], "test": [], "": []}
    for name in names:
        parts[_part(name, place)].append(Shard(name, label))
    if parts["test"] and parts[""] and not parts["train"]:
        raise InputError(
            f"{place} has shards to test on, such as {parts['test'][0].name}, but no shard with the word train in its name: "
            "rename the others, or give a pattern that matches only the shards to learn."
        )
    # Shards that are all called test are learned, because they were asked for.
    found = Shards(parts["train"], parts["test"], parts[""]) if parts["train"] else Shards([*parts[""], *parts["test"]], [])
    are_listed = is_address(place.removeprefix("file://")) and _is_pattern(place)
    _check_opens([] if are_listed else [shard.name for shard in (*found.train, *found.test)])
    return found


def _names(place: str) -> list[str]:
    """The names of all shards at a place, sorted."""
    if is_address(place) or ((RANGE.search(place) or glob.has_magic(place)) and not Path(place).exists()):
        names = sorted({name for each in _expanded(place) for name in _matching(each)})
        if not names:
            raise InputError(f"No shard matches {place}: expected files that end with {', '.join(READERS)}.")
        return names
    path = Path(place)
    if ending(place) and not path.exists():
        raise InputError(
            f"There is no shard {place}: give a file, a folder, or a pattern such as data-*.tar or {{000..127}}.tar."
        )
    if path.is_file():
        return [place] if ending(place) else []
    if not any(ending(entry.name) for level in ("*", "*/*") for entry in path.glob(level)):
        return []  # without a walk through a folder of a million images
    files = walk(path)
    if any(is_image_name(entry.name) for entry in files):
        return []  # archives next to images are not what is meant
    return sorted(entry.path for entry in files if ending(entry.name))


def _check_opens(names: Sequence[str]) -> None:
    """Check that shards can be opened, because reading those before a missing one may take hours."""
    failed = [(name, why) for name, why in zip(names, ask(_why_closed, names), strict=True) if why]
    if failed:
        (name, why), others = failed[0], [name for name, _ in failed[1:]]
        more = f", and neither can {count(len(others), 'other')} ({listed(others)})" if others else ""
        raise InputError(f"The shard {name} cannot be opened ({why}){more}: restore it, or leave it out of what you learn.")


def _why_closed(name: str) -> str:
    """Why a shard cannot be opened; empty if it can. Raises ``MGCLIPError`` if its server cannot be reached."""
    if is_address(name := name.removeprefix("file://")):
        return _why_absent(name)
    path = Path(name)
    try:
        if path.exists() and not path.is_file():
            return "it is not a file"
        path.open("rb").close()
    except OSError as error:
        return error.strerror or first_line(error)
    return ""


def _why_absent(address: str) -> str:
    """Why there is no shard at an address; empty if there is one."""
    try:
        return "" if about(address).get("type") != "directory" else "it is a folder"
    except ImportError as error:
        raise _needs_package(address, error) from None
    except Exception as error:  # file systems raise network and login errors of their own
        if why := failure(error):
            raise MGCLIPError(f"The shard {address} cannot be reached ({why}): run the command again later.") from error
        return "it does not exist" if isinstance(error, FileNotFoundError) else first_line(error)


def _needs_package(name: str, error: ImportError) -> InputError:
    return InputError(f"Reading {name} needs another package ({first_line(error)}): install it.")


def _matching(pattern: str) -> list[str]:
    """The shards that match a pattern of names on this machine or elsewhere. A web address without ``*`` matches itself."""
    if not _is_pattern(pattern):
        return [pattern] if ending(pattern) else []
    if not is_address(pattern):
        return [name for name in glob.glob(pattern, recursive=True) if ending(name)]  # noqa: PTH207  (the pattern may be absolute)
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(pattern)
        return [system.unstrip_protocol(name) for name in system.glob(path) if ending(name)]
    except Exception as error:  # file systems raise network and login errors of their own
        raise InputError(f"{pattern} cannot be listed ({first_line(error)}): check the address and the network.") from None


def _is_pattern(place: str) -> bool:
    """Whether the shards at a place must be listed. In an address, a question mark begins a query."""
    return glob.has_magic(place.split("?")[0] if is_address(place) else place)


def _expanded(pattern: str) -> list[str]:
    """The patterns with every range of numbers written out."""
    found = RANGE.search(pattern)
    if found is None:
        return [pattern]
    first, last = found.groups()
    numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return [name for number in numbers for name in _expanded(pattern[: found.start()] + number + pattern[found.end() :])]


def _part(name: str, place: str) -> str:
    """Which part of a data set a shard belongs to, by the words in its name or in that of a folder below the place; for a
    pattern, below its fixed beginning.
    """
    path, above = PurePath(name), PurePath(place)  # both are written in one way, without ./ and double slashes
    if not Path(place).exists():
        above = PurePath(*takewhile(lambda part: not (glob.has_magic(part) or RANGE.search(part)), above.parts))
    below = path.relative_to(above).parts if path.is_relative_to(above) else path.parts[-1:]
    words = {fold(word) for part in below for word in re.split(r"[\W\d_]+", part)}
    if words & {*TRAIN_NAMES}:
        return "train"
    return "test" if words & {*TEST_NAMES} else ""
