"""Read the tensors of a TorchScript archive without TorchScript, which would run code of the archive.

An archive is a zip file. ``data.pkl`` holds nested modules with their attributes; ``data/0``, ``data/1``, ... hold the numbers.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mgclip.untrusted import RestrictedUnpickler

STORAGE_TYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MAX_NAME_LENGTH, MAX_DEPTH = 200, 20
"""Limits for the names of attributes and the nesting of modules, far above those of any CLIP."""


def is_torchscript(file: Path) -> bool:
    """Whether a file is a zip archive that contains code."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any("/code/" in name for name in archive.namelist())


def check_archive(file: Path) -> None:
    """Check that a zip archive does not claim more bytes than the file has; PyTorch does not compress. Other files pass. Raises
    ``ValueError`` if it claims more, or is damaged. PyTorch reads no more of an entry than the archive claims.
    """
    if not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            claimed = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(str(error)) from None
    if claimed > file.stat().st_size:
        raise ValueError("it would unpack to more than it is")


def read_torchscript(file: Path) -> dict[str, Tensor]:
    """Return all tensors of an archive by name (``visual.conv1.weight``), including those that are not weights.

    No code of the archive runs, and nothing is unpacked to disk. If the file is not a valid archive, this raises
    ``pickle.UnpicklingError``, ``zipfile.BadZipFile``, ``ValueError``, ``KeyError``, ``TypeError`` or ``RuntimeError``.
    """
    left = file.stat().st_size
    with zipfile.ZipFile(file) as archive:

        def read(name: str) -> bytes:
            nonlocal left
            entry = archive.getinfo(name)
            left -= entry.file_size
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or left < 0:
                raise ValueError("it would unpack to more than it is")
            return archive.read(entry)

        roots = [name.split("/")[0] for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(roots) != 1:
            raise ValueError("expected one data.pkl")
        module = _ModuleUnpickler(read(f"{roots[0]}/data.pkl"), lambda key: read(f"{roots[0]}/data/{key}")).load()
        return dict(_tensors(module, "", 0, set()))


class _Module:
    """Stands for an object of any class that the archive defines. It has its attributes, but no code."""


class _ModuleUnpickler(RestrictedUnpickler):
    """Builds modules without methods, tensors, containers, strings and numbers. It refuses every other name."""

    def __init__(self, content: bytes, read: Callable[[str], bytes]) -> None:
        super().__init__(content)
        self.read_storage = read
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":  # lists and dictionaries with the type of their items
            return _untyped
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Tensor:
        what, dtype, key, _, count = pid
        valid = isinstance(key, str) and len(key) < 10 and key.isascii() and key.isdigit()
        if what != "storage" or not isinstance(dtype, torch.dtype) or not valid or not _is_size(count):
            raise pickle.UnpicklingError("invalid reference to a storage")
        if key not in self.storages:
            raw = bytearray(self.read_storage(key))
            self.storages[key] = torch.frombuffer(raw, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)
        return self.storages[key]

    def load_build(self) -> None:
        """Set the attributes of a module. Other objects have none."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not _Module or not isinstance(state, dict):
            raise pickle.UnpicklingError("unexpected BUILD opcode")
        vars(self.stack[-1]).update(state)

    dispatch: ClassVar[dict[int, Any]] = {**RestrictedUnpickler.dispatch, pickle.BUILD[0]: load_build}


def _untyped(value: Any, *types: Any) -> Any:
    return value


def _is_size(number: Any) -> bool:
    return type(number) is int and 0 <= number < 1 << 40


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Tensor:
    if not all(isinstance(each, tuple) and len(each) <= 8 for each in (size, stride)):
        raise pickle.UnpicklingError("invalid tensor shape")
    if not all(map(_is_size, (offset, *size, *stride))) or math.prod(size) > storage.numel():
        raise pickle.UnpicklingError("a tensor claims more elements than its storage contains")
    return storage.as_strided(size, stride, offset)


def _tensors(module: Any, prefix: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a module and of the modules in it, visiting each module once."""
    seen.add(id(module))
    if depth > MAX_DEPTH or not all(isinstance(name, str) and len(name) <= MAX_NAME_LENGTH for name in vars(module)):
        raise ValueError("its modules are nested too deeply, or an attribute has an invalid name")
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif type(value) is _Module and id(value) not in seen:
            yield from _tensors(value, f"{prefix}{name}.", depth + 1, seen)
