"""Images as the encoder wants them: opened, transformed once, kept while there is room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import Tensor

from mgclip.images import THREADS, to_rgb

KEEP_BYTES = 2 << 30
"""Transformed images of a set are kept in memory up to this many bytes; a larger set is transformed at every use."""

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

GROUP = 4
"""Images a thread opens before it transforms them, fewer when they are large: see ``AT_ONCE``."""

AT_ONCE = 16_000_000
"""Pixels a thread holds open before it transforms them."""


class Pixels:
    """The transformed images of one set: ``transform`` is asked for each image once, if all of them may be kept.

    ``images`` is any sequence of what ``to_rgb`` takes; it is read an item at a time, only when a batch needs it.
    """

    def __init__(
        self, images: Sequence[Any], transform: Callable[[Sequence[Any]], Tensor], keep_bytes: int = KEEP_BYTES
    ) -> None:
        self.images, self.transform, self.keep_bytes = images, transform, keep_bytes
        self._kept: Tensor | None = None
        self._lock = Lock()
        self._have = torch.zeros(len(images), dtype=torch.bool)

    @classmethod
    def of(cls, transformed: Tensor) -> Pixels:
        """Images that are transformed already, ``(n, 3, size, size)`` uint8."""
        pixels = cls(range(len(transformed)), lambda images: transformed[:0])
        pixels._kept, pixels._have = transformed, torch.ones(len(transformed), dtype=torch.bool)
        return pixels

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` ``(b,)`` -> ``(b, 3, size, size)`` uint8."""
        with self._lock:
            return self._batch(indices)

    def _batch(self, indices: Tensor) -> Tensor:
        missing = indices[~self._have[indices]]
        if self._kept is not None and len(missing) == 0:
            return self._kept[indices]
        if len(missing) == 0:  # nothing is asked for: an image of nothing has the shape of the others
            return self._prepare([0])[:0] if len(self) else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        fresh = self._prepare(missing.tolist())
        if self._kept is None and fresh[0].numel() * len(self) <= self.keep_bytes:
            self._kept = torch.empty((len(self), *fresh.shape[1:]), dtype=torch.uint8)
        if self._kept is None:
            return fresh
        self._kept[missing] = fresh
        self._have[missing] = True
        return self._kept[indices]

    def _prepare(self, places: Sequence[int]) -> Tensor:
        """Open and transform images, on several threads: Pillow works outside Python's lock. Few are open at a time, for
        photographs take more memory opened than transformed.
        """
        groups = [places[start : start + GROUP] for start in range(0, len(places), GROUP)]
        work = map if len(groups) < 2 else _pool().map
        done = [part for parts in work(self._group, groups) for part in parts]
        return torch.cat(done) if len(done) > 1 else done[0]

    def _group(self, places: Sequence[int]) -> list[Tensor]:
        done, opened = [], []
        for place in places:
            opened.append(to_rgb(self.images[place]))
            if sum(image.width * image.height for image in opened) > AT_ONCE or place == places[-1]:
                done.append(self.transform(opened))
                opened = []
        return done


def ahead(load: Callable[[Item], Loaded], items: Iterable[Item]) -> Iterator[tuple[Item, Loaded]]:
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
    return ThreadPoolExecutor(THREADS)
