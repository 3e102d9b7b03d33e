"""Images prepared for the encoder: opened, transformed once, and kept within a memory budget."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mgclip.home import in_home
from mgclip.images import MemberImage, UnrotatedPath, open_image, thread_count, to_rgb

KEEP_BYTES = 2 << 30
"""Memory for the transformed images of a set. Images that do not fit are transformed at every use."""

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

GROUP = 4
"""Images that a thread opens and transforms per task."""

LOCKED = 0.0005
"""Seconds for which preparing an image occupies Python's lock, with the time in which threads hand it over to each other. More
threads than this allows to work at the same time slow each other down (docs/performance.md, "Threads and loading").
"""

KEY = 16
"""Bytes of the key of an image."""


class MemoryBudget:
    """Memory for the images of one or more sets, taken first come, first served."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, most: int, each: int) -> int:
        """Take memory for up to ``most`` images of ``each`` bytes, and return how many fit."""
        fitting = max(0, min(most, self.left // each))
        self.left -= fitting * each
        return fitting


class Observer(Protocol):
    """Is shown the content of images when they are read, by several threads."""

    def expects(self, position: int) -> bool:
        """Whether the content of an image is of interest."""

    def observe(self, position: int, digest: bytes) -> None:
        """Take the digest of an image that could be read."""


class PreparedImages:
    """The images of one set, transformed when a batch needs them and kept in memory if they fit.

    Args:
        images: A sequence of anything that ``to_rgb`` takes, read item by item.
        transform: Turns RGB images into ``(n, 3, size, size)`` uint8.
        keep_bytes: Memory for the transformed images, or a budget shared with other sets.

    Attributes:
        observer: Is shown the images that are read, unless it is None.
    """

    def __init__(
        self,
        images: Sequence[Any],
        transform: Callable[[Sequence[Any]], Tensor],
        keep_bytes: int | MemoryBudget = KEEP_BYTES,
    ) -> None:
        self.images, self.transform = images, transform
        self.budget = keep_bytes if isinstance(keep_bytes, MemoryBudget) else MemoryBudget(keep_bytes)
        self._kept: Tensor | None = None
        self._used = 0
        self._row = torch.full((len(images),), -1)  # the row of each image in _kept, or -1
        self._lock = Lock()
        self.observer: Observer | None = None
        self.marks: Tensor | None = None
        self._keys: NDArray[np.bytes_] | None = None

    @classmethod
    def of(cls, transformed: Tensor) -> PreparedImages:
        """Wrap images that are already transformed, ``(n, 3, size, size)`` uint8."""
        pixels = cls(range(len(transformed)), lambda images: transformed[:0])
        pixels._kept, pixels._row = transformed, torch.arange(len(transformed))
        return pixels

    def __len__(self) -> int:
        return len(self.images)

    def facts(self) -> tuple[int, bytes]:
        """What identifies the set: the number of images, and the pixels of the first and the last one."""
        ends = torch.tensor([0, len(self) - 1]) if len(self) else torch.empty(0, dtype=torch.long)
        return len(self), self.batch(ends).numpy().tobytes()

    def record_marks(self) -> Tensor:
        """Record a fingerprint of the pixels of every image when it is prepared. Returns them ``(n,)``, with 0 for images that
        are not prepared yet; later batches fill them in.
        """
        if self.marks is None:
            self.marks = torch.zeros(len(self), dtype=torch.long)
            for position in torch.nonzero(self._row >= 0)[:, 0].tolist():
                assert self._kept is not None
                self.marks[position] = _mark(self._kept[self._row[position]])
        return self.marks

    def keys(self, indices: Tensor) -> NDArray[np.bytes_]:
        """Return a key of each image at ``indices`` ``(b,)``, 16 bytes that differ if the transformed images may differ.

        The key of a file is a digest of its bytes, so the file is read and not decoded. An image that is not a file is prepared,
        and the digest is that of its transformed pixels. An image that was prepared keeps the key of what was prepared.
        """
        if self._keys is None:
            self._keys = np.zeros(len(self), dtype=f"S{KEY}")
            for position in torch.nonzero(self._row >= 0)[:, 0].tolist():
                assert self._kept is not None
                self._keys[position] = _pixel_key(self._kept[self._row[position]])
        wanted = indices.numpy()
        new = wanted[self._keys[wanted] == b""]
        if len(new) and isinstance(self.images[0], str | os.PathLike):
            self._keys[new] = list(_pool(thread_count()).map(self._key_of_file, new.tolist()))
            new = new[self._keys[new] == b""]
        if len(new):
            self.batch(torch.from_numpy(new))  # an image that cannot be read raises its error here
        found: NDArray[np.bytes_] = self._keys[wanted]
        return found

    def batch(self, indices: Tensor) -> Tensor:
        """Return the images at ``indices`` ``(b,)`` as ``(b, 3, size, size)`` uint8."""
        with self._lock:
            return pinned(self._batch(indices))

    def _batch(self, indices: Tensor) -> Tensor:
        kept = self._row[indices] >= 0
        if self._kept is not None and bool(kept.all()):
            return self._kept[self._row[indices]]
        if len(indices) == 0:  # an empty batch has the shape of the other images
            return self._prepare([0])[:0] if len(self) else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        missing = indices[~kept]
        fresh = self._prepare(missing.tolist())
        if self._kept is None:
            rows = self.budget.take(len(self), fresh[0].numel())
            self._kept = torch.empty((rows, *fresh.shape[1:]), dtype=torch.uint8)
        batch = fresh
        if len(missing) < len(indices):
            batch = fresh.new_empty((len(indices), *fresh.shape[1:]))
            batch[kept], batch[~kept] = self._kept[self._row[indices[kept]]], fresh
        self._store(missing, fresh, self._kept)
        return batch

    def _store(self, positions: Tensor, fresh: Tensor, kept: Tensor) -> None:
        """Keep as many of these images as there are unused rows."""
        rows = torch.arange(self._used, min(len(kept), self._used + len(fresh)))
        kept[rows], self._row[positions[: len(rows)]] = fresh[: len(rows)], rows
        self._used += len(rows)

    def _prepare(self, positions: Sequence[int]) -> Tensor:
        """Open and transform images, on as many threads as make it faster: Pillow releases Python's lock. A thread opens one
        image at a time, because photographs take more memory before they are transformed.
        """
        start = time.perf_counter()
        first = self._prepare_one(positions[0])
        threads = useful_threads(time.perf_counter() - start)
        batch = first.new_empty((len(positions), *first.shape))
        rows = batch.numpy()  # PyTorch would copy each image on several threads, which takes longer
        rows[0] = first.numpy()

        def prepare(places: range) -> None:
            for place in places:
                rows[place] = self._prepare_one(positions[place]).numpy()

        groups = [range(start, min(start + GROUP, len(positions))) for start in range(1, len(positions), GROUP)]
        each = map if len(groups) < 2 or threads < 2 else _pool(threads).map
        deque(each(prepare, groups), maxlen=0)  # waits, and raises what a thread raised
        return batch

    def _prepare_one(self, position: int) -> Tensor:
        item, content, key = self._read(position)
        least_side = getattr(self.transform, "least_side", None)
        opened = to_rgb(item, least_side=least_side) if content is None else open_image(item, content, least_side=least_side)
        image = self.transform([opened])[0]
        if self.marks is not None:
            self.marks[position] = _mark(image)
        if self._keys is not None:
            self._keys[position] = key or _pixel_key(image)
        self._show(position, item, key)
        return image

    def _read(self, position: int) -> tuple[Any, bytes | None, bytes]:
        """An image; and if its content matters, the bytes of its file, which must be those that are decoded, and their key."""
        item = self.images[position]
        wanted = self._keys is not None or (self.observer is not None and self.observer.expects(position))
        return item, *(_content(item) if wanted else (None, b""))

    def _key_of_file(self, position: int) -> bytes:
        item, _, key = self._read(position)
        if key:  # otherwise it is prepared, which raises its error
            self._show(position, item, key)
        return key

    def _show(self, position: int, item: Any, key: bytes) -> None:
        """Show the observer an image that was read."""
        if self.observer is not None and self.observer.expects(position) and (digest := key or _digest(item)):
            self.observer.observe(position, digest)


def _mark(pixels: Tensor) -> int:
    """A fingerprint of 64 bits of the pixels of one image."""
    digest = hashlib.blake2b(pixels.numpy().tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _pixel_key(pixels: Tensor) -> bytes:
    """The key of an image that is not a file."""
    return hashlib.blake2b(pixels.numpy().tobytes(), digest_size=KEY, person=b"pixels").digest()


def _digest(item: Any) -> bytes:
    """A digest of an image that is not a file, as it is stored; empty if it cannot be told."""
    if isinstance(item, MemberImage):
        if isinstance(item.data, str):
            return _content(item.data)[1]
        content = item.data
    else:
        array = np.asarray(item)
        content = b"" if array.dtype.kind in "OUS" else f"{array.shape} {array.dtype}".encode() + array.tobytes()
    return hashlib.blake2b(content, digest_size=KEY).digest() if content else b""


def _content(item: Any) -> tuple[bytes | None, bytes]:
    """The bytes of an image file and their key; None and an empty key if the item is not a file that can be read."""
    if not isinstance(item, str | os.PathLike):
        return None, b""
    try:
        content = Path(in_home(item)).read_bytes()
    except (OSError, ValueError):
        return None, b""
    kind = b"unrotated" if isinstance(item, UnrotatedPath) else b"file"
    return content, hashlib.blake2b(content, digest_size=KEY, person=kind).digest()


def pinned(pixels: Tensor) -> Tensor:
    """Return pixels in pinned memory if this process uses a GPU, which copies from there while it computes."""
    return pixels.pin_memory() if torch.cuda.is_initialized() else pixels


def prefetch(load: Callable[[Item], Loaded], items: Iterable[Item]) -> Iterator[tuple[Item, Loaded]]:
    """Yield each item with its loaded value. The next value is loaded in the background while this one is used."""
    with ThreadPoolExecutor(1) as loader:
        waiting: deque[tuple[Item, Future[Loaded]]] = deque()
        for item in items:
            waiting.append((item, loader.submit(load, item)))
            if len(waiting) > 1:
                loaded, future = waiting.popleft()
                yield loaded, future.result()
        for loaded, future in waiting:
            yield loaded, future.result()


def useful_threads(seconds: float) -> int:
    """How many threads prepare images that take one thread this long each: all, or a half, a quarter and so on of them."""
    threads = thread_count()
    while threads > 1 and seconds < threads * LOCKED:
        threads //= 2
    return threads


@cache  # few sizes are in use
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process does not inherit the pool's threads
