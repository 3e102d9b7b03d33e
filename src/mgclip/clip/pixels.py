"""Images as the encoder wants them: opened, transformed once, kept while there is room."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import Tensor

from mgclip.images import thread_count, to_rgb

KEEP_BYTES = 2 << 30
"""Transformed images of a set are kept in memory up to this many bytes; those beyond it are transformed at every use."""

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

GROUP = 4
"""Images that a thread opens and transforms, one after the other, before it reports."""


class MemoryBudget:
    """Memory for the kept images of one or more sets: whoever comes first takes what it needs, the last one what is left."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, most: int, each: int) -> int:
        """Take room for up to ``most`` images of ``each`` bytes; how many fit."""
        fitting = max(0, min(most, self.left // each))
        self.left -= fitting * each
        return fitting


class PreparedImages:
    """The transformed images of one set: ``transform`` is asked for each image once, as far as there is room to keep them.

    ``images`` is any sequence of what ``to_rgb`` takes; it is read an item at a time, only when a batch needs it. ``keep_bytes``:
    room of its own, or one shared with other sets.
    """

    def __init__(
        self,
        images: Sequence[Any],
        transform: Callable[[Sequence[Any]], Tensor],
        keep_bytes: int | MemoryBudget = KEEP_BYTES,
    ) -> None:
        self.images, self.transform = images, transform
        self.room = keep_bytes if isinstance(keep_bytes, MemoryBudget) else MemoryBudget(keep_bytes)
        self._kept: Tensor | None = None
        self._used = 0
        self._row = torch.full((len(images),), -1)  # of each image in those kept
        self._lock = Lock()

    @classmethod
    def of(cls, transformed: Tensor) -> PreparedImages:
        """Images that are transformed already, ``(n, 3, size, size)`` uint8."""
        pixels = cls(range(len(transformed)), lambda images: transformed[:0])
        pixels._kept, pixels._row = transformed, torch.arange(len(transformed))
        return pixels

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` ``(b,)`` -> ``(b, 3, size, size)`` uint8."""
        with self._lock:
            return self._batch(indices)

    def _batch(self, indices: Tensor) -> Tensor:
        have = self._row[indices] >= 0
        if self._kept is not None and bool(have.all()):
            return self._kept[self._row[indices]]
        if len(indices) == 0:  # an image of nothing has the shape of the others
            return self._prepare([0])[:0] if len(self) else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        missing = indices[~have]
        fresh = self._prepare(missing.tolist())
        if self._kept is None:
            rows = self.room.take(len(self), fresh[0].numel())
            self._kept = torch.empty((rows, *fresh.shape[1:]), dtype=torch.uint8)
        batch = fresh
        if len(missing) < len(indices):
            batch = fresh.new_empty((len(indices), *fresh.shape[1:]))
            batch[have], batch[~have] = self._kept[self._row[indices[have]]], fresh
        self._store(missing, fresh, self._kept)
        return batch

    def _store(self, places: Tensor, fresh: Tensor, kept: Tensor) -> None:
        """Keep as many of these images as there are rows left."""
        rows = torch.arange(self._used, min(len(kept), self._used + len(fresh)))
        kept[rows], self._row[places[: len(rows)]] = fresh[: len(rows)], rows
        self._used += len(rows)

    def _prepare(self, places: Sequence[int]) -> Tensor:
        """Open and transform images, on several threads: Pillow works outside Python's lock. A thread holds one open at a time,
        for photographs take more memory opened than transformed.
        """
        groups = [places[start : start + GROUP] for start in range(0, len(places), GROUP)]
        work = map if len(groups) < 2 or thread_count() < 2 else _pool().map
        done = [image for images in work(self._group, groups) for image in images]
        return torch.cat(done) if len(done) > 1 else done[0]

    def _group(self, places: Sequence[int]) -> list[Tensor]:
        return [self.transform([to_rgb(self.images[place])]) for place in places]


def prefetch(load: Callable[[Item], Loaded], items: Iterable[Item]) -> Iterator[tuple[Item, Loaded]]:
    """Each item with what ``load`` makes of it; the next one is loaded in the background while this one is used."""
    with ThreadPoolExecutor(1) as loader:
        waiting: deque[tuple[Item, Future[Loaded]]] = deque()
        for item in items:
            waiting.append((item, loader.submit(load, item)))
            if len(waiting) > 1:
                now, coming = waiting.popleft()
                yield now, coming.result()
        for now, coming in waiting:
            yield now, coming.result()


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_count())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of the pool's threads
