"""The tensors of a TorchScript archive, read without TorchScript, which runs code of the archive when it loads one.

An archive is a zip file: ``data.pkl`` has modules within modules as their attributes; ``data/0``, ``data/1``, ... the numbers.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

KINDS = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def is_torchscript(file: Path) -> bool:
    """Whether a file is a zip archive with code in it."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any("/code/" in name for name in archive.namelist())


def check_archive(file: Path) -> None:
    """See that a zip archive holds no more than it takes on disk, as PyTorch writes them: one that unpacks to more is refused.

    Raises ``ValueError``. A file that is no zip archive passes.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        numbers = [info for info in archive.infolist() if "/code/" not in info.filename]
    if sum(info.file_size for info in numbers) > file.stat().st_size:
        raise ValueError("it would unpack to more than it is")


def read_torchscript(file: Path) -> dict[str, Tensor]:
    """The tensors of all modules of an archive by name (``visual.conv1.weight``), attributes that are no weights among them.

    Nothing of the archive is run. Raises ``pickle.UnpicklingError``, ``zipfile.BadZipFile``, ``ValueError``, ``KeyError``,
    ``TypeError`` or ``RuntimeError`` for what is no such archive.
    """
    check_archive(file)
    with zipfile.ZipFile(file) as archive:
        root = next((name[: -len("/data.pkl")] for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if root is None:
            raise ValueError("it holds no data.pkl")

        def storage(kind: torch.dtype, key: str, count: int) -> Tensor:
            raw = archive.read(f"{root}/data/{key}")
            return torch.frombuffer(bytearray(raw), dtype=kind, count=count) if count else torch.empty(0, dtype=kind)

        whole = _Plain(archive.read(f"{root}/data.pkl"), storage).load()
        return dict(_tensors(whole, "", set()))


class _Module:
    """Anything of a kind that the archive defines: its attributes, and nothing that runs."""


class _Plain(pickle.Unpickler):
    """Builds modules without methods, tensors, containers, strings and numbers; every other name is refused."""

    def __init__(self, content: bytes, read: Callable[[torch.dtype, str, int], Tensor]) -> None:
        super().__init__(io.BytesIO(content))
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
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no weight")

    def persistent_load(self, pid: Any) -> Tensor:
        what, kind, key, _, count = pid
        if what != "storage" or not isinstance(kind, torch.dtype) or not str(key).isdigit():
            raise pickle.UnpicklingError(f"it names {str(pid)[:100]}, which is no storage")
        if key not in self.storages:
            self.storages[key] = self.read_storage(kind, key, int(count))
        return self.storages[key]


def _untyped(value: Any, *kind: Any) -> Any:
    return value


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Tensor:
    if math.prod(size) > storage.numel():
        raise pickle.UnpicklingError("it holds a tensor of more numbers than are stored")
    return storage.as_strided(size, stride, offset)


def _tensors(module: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a module and of those within, each module once."""
    seen.add(id(module))
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module) and id(value) not in seen:
            yield from _tensors(value, f"{prefix}{name}.", seen)
