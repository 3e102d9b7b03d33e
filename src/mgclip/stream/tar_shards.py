"""Tar shards (WebDataset): members of one image share the name before the first full stop, such as ``12.jpg`` and ``12.cls``."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mgclip.errors import InputError, first_line
from mgclip.image_formats import file_extensions, missing_plugin
from mgclip.stream.class_list import CLASSES, class_list
from mgclip.stream.decompressed import decompressed
from mgclip.stream.remote import StreamedFile, is_address
from mgclip.stream.shard_labels import LABELS, class_name
from mgclip.words import listed

REST = 1 << 20
"""Bytes that are read at a time after the end of an archive."""


class _Watched:
    """A file that notes whether it was read to its end. Readers of a complete archive stop at a mark before that."""

    def __init__(self, file: Any) -> None:
        self.file, self.ended = file, False

    def read(self, size: int = -1) -> Any:
        data = self.file.read(size)
        self.ended |= not data
        return data

    def seek(self, place: int, whence: int = 0) -> Any:
        return self.file.seek(place, whence)

    def tell(self) -> Any:
        return self.file.tell()


class _Member(tarfile.TarInfo):
    """A member of an archive. tarfile would take a damaged header for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Any:
        try:
            return super().fromtarfile(archive)
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"the header of a member is damaged: {error}") from None


def tar_items(name: str, label: str) -> Iterator[tuple[bytes, str, str]]:
    """Read the images of a tar shard.

    Args:
        name: Its path or address.
        label: The member or JSON key with the class of an image; empty finds it.

    Yields:
        The bytes of an image, its class, and its name in the shard.

    Raises:
        InputError: If an image has no class, or there is no image. If the shard is damaged, tarfile raises many other types.
    """
    path = name.removeprefix("file://")
    # fsspec would take :: in a path for two addresses.
    with StreamedFile(name) if is_address(path) else Path(path).open("rb") as file:
        yield from _items(name, label, decompressed(file), "r|", _read)


def tar_places(name: str, label: str) -> Iterator[tuple[int, int, str]]:
    """Index the images of a tar shard on this machine that is not compressed.

    Args:
        name: Its path.
        label: The member or JSON key with the class of an image; empty finds it.

    Yields:
        The offset and the size of an image in bytes, and its class.

    Raises:
        InputError: As ``tar_items`` does.
    """

    def place(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
        if not _is_image(member.name):
            return _read(archive, member)
        if member.issparse():  # its zeros are left out, so it does not lie in one piece
            raise InputError(
                f"The member {member.name} of the shard {name} is stored as a sparse file, which cannot be looked up: pack it "
                "again without `--sparse`."
            )
        return member.offset_data, member.size

    with Path(name).open("rb") as file:
        for (start, size), class_name, _ in _items(name, label, file, "r:", place):
            yield start, size, class_name


def _items(name: str, label: str, file: Any, mode: str, read: Callable[[tarfile.TarFile, tarfile.TarInfo], Any]) -> Iterator[Any]:
    """What was read of each image in an archive, its class and its name."""
    found, watched = False, _Watched(file)
    with tarfile.open(fileobj=watched, mode=mode, tarinfo=_Member) as archive:  # type: ignore[call-overload]
        for members in _groups(name, archive, read):
            if watched.ended:  # more members of this last image may be missing, such as the preferred one with its class
                break
            item = _item(name, members, label)
            if item is not None:
                found = True
                yield item
        if watched.ended:
            raise EOFError("the archive ends too early")
        _check_end(name, archive.fileobj)
    if not found:
        raise InputError(f"The shard {name} has no image: leave it out.")


def _check_end(shard: str, file: Any) -> None:
    """Check that only zeros follow the end of an archive. A second archive there would be ignored."""
    while rest := file.read(REST):
        if any(rest):
            raise InputError(
                f"The shard {shard} continues after the end of its archive, as if several archives were joined with cat: keep "
                "them as separate files."
            )


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _is_image(name: str) -> bool:
    return f".{name.rpartition('.')[2].lower()}" in file_extensions()


def _groups(
    shard: str, archive: tarfile.TarFile, read: Callable[[tarfile.TarFile, tarfile.TarInfo], Any]
) -> Iterator[dict[str, Any]]:
    """What was read of the members of each image, by full name, in the order of the archive."""
    group: dict[str, Any] = {}
    seen: set[int] = set()  # hashes, which take less memory than names
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # otherwise tarfile keeps all of them
        if member.name.rpartition("/")[2].startswith("."):
            continue
        if member.islnk() or member.issym():
            raise InputError(
                f"The member {member.name} of the shard {shard} is a link to {member.linkname}, and links are not followed: pack "
                "the file itself (`tar --dereference --hard-dereference`)."
            )
        if not member.isreg():
            continue
        if group and _key(member.name) != _key(next(iter(group))):
            yield group
            group = {}
        if member.name in group:
            raise InputError(f"The shard {shard} has two members {member.name}: give each image its own name.")
        if not group:
            if (key := hash(_key(member.name))) in seen:
                raise InputError(
                    f"The shard {shard} has members of the image {_key(member.name)} at two places, such as {member.name}: pack "
                    "it again, with the members of each image together."
                )
            seen.add(key)
        group[member.name] = read(archive, member)
    if group:
        yield group


def _key(name: str) -> str:
    """The part of a name that the members of one image share."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _item(shard: str, members: dict[str, Any], label: str) -> tuple[Any, str, str] | None:
    """The image of a group of members with its class; None if there is no image among them."""
    images = [name for name in members if _is_image(name)]
    if not images:
        _check_no_class(shard, members, label)
        return None
    if len(images) > 1:
        raise InputError(f"{images[0]} and {images[1]} in {shard} are two images with the same name: give each its own name.")
    image = images[0]
    member, value = _label(shard, {_extension(name): name for name in members}, members, label)
    if value is None or value == "":
        raise _no_class(image, shard, members, label)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InputError(
            f"The class of the image {image} in {shard} is {json.dumps(value)[:80]}: expected a text or a whole number; "
            "--label names another key."
        )
    return members[image], _named(class_name(str(value), shard, f"the member {member}"), shard, image), image


def _check_no_class(shard: str, members: dict[str, Any], label: str) -> None:
    """Check that members without an image are not those of an image in a format that cannot be read, which would be left out."""
    names = {_extension(name): name for name in members}
    plugin = missing_plugin(f".{name.rpartition('.')[2]}" for name in members)
    if plugin or (label.lower() or "cls") in names:
        found = listed(sorted(members))
        what = f"run {plugin}" if plugin else "add the image, or leave the others out"
        raise InputError(f"The shard {shard} has {found} without an image in a supported format: {what}.")


def _extension(name: str) -> str:
    """The part of a name that differs between the members of one image: ``cls`` in ``v1.0/12.cls``."""
    return name.rpartition("/")[2].partition(".")[2].lower()


def _label(shard: str, names: dict[str, str], members: dict[str, Any], label: str) -> tuple[str, Any]:
    """The member with the class of an image, and the class; None if there is none. ``names`` are those of the members by their
    extensions.
    """
    if member := names.get(label.lower() if label else "cls"):
        return member, _text(shard, member, members)
    about = _object(shard, names["json"], members) if "json" in names else {}
    if key := next((key for key in ([label] if label else LABELS) if key in about), ""):
        value = about[key]
        return names["json"], value.strip() if isinstance(value, str) else value
    return (names["txt"], _text(shard, names["txt"], members)) if "txt" in names and not label else ("", None)


def _text(shard: str, member: str, members: dict[str, Any]) -> str:
    """The text of a member."""
    try:
        return str(members[member], "utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InputError(
            f"The member {member} of the shard {shard} has no class ({first_line(error)}): write its name in UTF-8, or choose "
            "another member with --label."
        ) from None


def _object(shard: str, member: str, members: dict[str, Any]) -> dict[str, Any]:
    """What a JSON member holds; nothing if that is not an object."""
    try:
        found = json.loads(members[member])
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"The member {member} of the shard {shard} is not JSON ({first_line(error)}): replace it, or choose another member "
            "with --label."
        ) from None
    return found if isinstance(found, dict) else {}


def _no_class(image: str, shard: str, members: dict[str, Any], label: str) -> InputError:
    """The error for an image without a class: where it was expected, and what there is instead."""
    folder, _, file = image.rpartition("/")
    stem = file.partition(".")[0]
    others = [_described(shard, name, members) for name in sorted(members) if name != image]
    if label:
        expected = f"the member {stem}.{label}, or the key {label!r} in {stem}.json"
    else:
        expected = f"its name in {stem}.cls or {stem}.txt, or in {stem}.json as one of the keys {', '.join(LABELS)}"
    found = listed(others) if others else "only the image (its other members must come directly before or after it)"
    unpack = f"unpack the shard if {folder!r} is the class, " if folder and not others else ""
    return InputError(
        f"The image {image} in {shard} has no class: expected {expected}; found {found}: add the class, {unpack}or name another "
        "member or key with --label."
    )


def _described(shard: str, member: str, members: dict[str, Any]) -> str:
    """The name of a member and, if it is JSON, its keys."""
    keys = listed([*_object(shard, member, members)]) if _extension(member) == "json" else ""
    return f"{member} (keys {keys})" if keys else member


def _named(value: str, shard: str, image: str) -> str:
    """The class with this name, or with this number in the list next to the shard."""
    if not value.removeprefix("-").isdecimal():
        return value
    names = class_list(shard)
    if len(value) < 10 and 0 <= int(value) < len(names):  # Python refuses to read a number of thousands of digits
        return names[int(value)]
    expected = f"which is not among the {len(names)} of {CLASSES[0]}" if names else "and there is no list of names"
    raise InputError(
        f"The image {image} in {shard} has the class number {value[:80]}, {expected}: put {CLASSES[0]} next to the shards, with "
        "one class name on each line, the one of class 0 first."
    )
