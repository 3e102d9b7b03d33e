"""The tensors of a TorchScript archive, read without TorchScript, which runs code of the archive when it loads one.

An archive is a zip file: ``data.pkl`` has modules within modules as their attributes; ``data/0``, ``data/1``, ... the numbers.
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

KINDS = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


LONGEST_NAME, DEEPEST = 200, 20
"""A module's attributes have shorter names, and modules do not lie so deep in each other."""


def is_torchscript(file: Path) -> bool:
    """Whether a file is a zip archive with code in it."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any("/code/" in name for name in archive.namelist())


def check_archive(file: Path) -> None:
    """See that a zip archive says it holds no more than it takes on disk: PyTorch writes numbers as they are.

    PyTorch's own reader takes no more of an entry than the archive says. Raises ``ValueError``; a file that is no zip archive
    passes.
    """
    if not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            held = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(str(error)) from None
    if held > file.stat().st_size:
        raise ValueError("it would unpack to more than it is")


def read_torchscript(file: Path) -> dict[str, Tensor]:
    """The tensors of all modules of an archive by name (``visual.conv1.weight``), attributes that are no weights among them.

    Nothing of the archive is run, and nothing unpacked. Raises ``pickle.UnpicklingError``, ``zipfile.BadZipFile``,
    ``ValueError``, ``KeyError``, ``TypeError`` or ``RuntimeError`` for what is no such archive.
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

        roots = [
            name.split("/")[0] for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1
        ]
        if len(roots) != 1:
            raise ValueError("it holds no data.pkl, or several")
        whole = _Modules(read(f"{roots[0]}/data.pkl"), lambda key: read(f"{roots[0]}/data/{key}")).load()
        return dict(_tensors(whole, "", 0, set()))


class _Module:
    """Anything of a kind that the archive defines: its attributes, and nothing that runs."""


class _Modules(RestrictedUnpickler):
    """Builds modules without methods, tensors, containers, strings and numbers; every other name is refused."""

    def __init__(self, content: bytes, read: Callable[[str], bytes]) -> None:
        super().__init__(content)
        self.read_storage = read
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in KINDS:
            return KINDS[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":  # lists and dictionaries with the type of what is in them
            return _untyped
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Tensor:
        what, kind, key, _, count = pid
        named = isinstance(key, str) and len(key) < 10 and key.isascii() and key.isdigit()
        if what != "storage" or not isinstance(kind, torch.dtype) or not named or not _small(count):
            raise pickle.UnpicklingError("it names something else than a storage")
        if key not in self.storages:
            raw = bytearray(self.read_storage(key))
            self.storages[key] = torch.frombuffer(raw, dtype=kind, count=count) if count else torch.empty(0, dtype=kind)
        return self.storages[key]

    def load_build(self) -> None:
        """Give a module its attributes; nothing else has any."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not _Module or not isinstance(state, dict):
            raise pickle.UnpicklingError("it gives attributes to what is no module")
        vars(self.stack[-1]).update(state)

    dispatch: ClassVar[dict[int, Any]] = {**RestrictedUnpickler.dispatch, pickle.BUILD[0]: load_build}


def _untyped(value: Any, *kind: Any) -> Any:
    return value


def _small(number: Any) -> bool:
    return type(number) is int and 0 <= number < 1 << 40


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Tensor:
    if not all(isinstance(each, tuple) and len(each) <= 8 for each in (size, stride)):
        raise pickle.UnpicklingError("it holds a tensor of no shape")
    if not all(map(_small, (offset, *size, *stride))) or math.prod(size) > storage.numel():
        raise pickle.UnpicklingError("it holds a tensor of more numbers than are stored")
    return storage.as_strided(size, stride, offset)


def _tensors(module: Any, prefix: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a module and of those within, each module once."""
    seen.add(id(module))
    if depth > DEEPEST or not all(isinstance(name, str) and len(name) <= LONGEST_NAME for name in vars(module)):
        raise ValueError("its modules lie too deep in each other, or have names that are too long")
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif type(value) is _Module and id(value) not in seen:
            yield from _tensors(value, f"{prefix}{name}.", depth + 1, seen)
