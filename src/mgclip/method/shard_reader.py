"""Reads shards from start to end, and encodes their images in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Protocol

import torch
from torch import Tensor

from mgclip.clip.encoder import Encoder, check_finite
from mgclip.clip.pixels import PreparedImages, prefetch
from mgclip.errors import InputError
from mgclip.images import UnreadableImage, find_unreadable_images
from mgclip.method.learned_images import Images
from mgclip.names import canonical


class ImageShard(Protocol):
    """A shard: its name, and its images with the names of their classes, in order."""

    @property
    def name(self) -> str:
        """What errors and checkpoints call it."""

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        """Its images. Raises ``InputError`` if it is damaged."""


@dataclass(frozen=True)
class ShardReader:
    """Reads and encodes the images of shards.

    Attributes:
        encoder: The CLIP.
        skip: Whether to leave out what cannot be read, instead of raising an error.
        skipped: What was left out, an image or the rest of a shard, and why; grows while shards are read.
    """

    encoder: Encoder
    skip: bool
    skipped: list[tuple[str, str]]

    def encoded(self, shard: ImageShard, most: int | None = None) -> Iterator[tuple[Images, list[str]]]:
        """Yield the images of a shard, a batch at a time, and the names of their classes. The next batch is read and opened while
        one is encoded.

        Args:
            shard: The shard.
            most: Stop after this number of images; None reads all.

        Yields:
            Fingerprints and features of some images, with labels that mean nothing; and the name of the class of each.

        Raises:
            InputError: If an image or the shard cannot be read, unless such are skipped.
        """
        items = islice(self._items(shard), most)

        def load(_: int) -> tuple[Tensor, Tensor, list[str]] | None:  # runs in a thread
            batch = list(islice(items, self.encoder.batch_size))
            return self._opened([image for image, _ in batch], [canonical(label) for _, label in batch]) if batch else None

        for _, loaded in prefetch(load, count()):
            if loaded is None:
                return
            pixels, marks, names = loaded
            if names:
                features = self.encoder.images(PreparedImages.of(pixels))
                check_finite(features)
                marks = marks.to(features.device)
                yield Images(marks, torch.zeros_like(marks), features), names

    def _items(self, shard: ImageShard) -> Iterator[tuple[Any, str]]:
        """The images of a shard; if it is damaged and that is skipped, those before the damage."""
        try:
            yield from shard
        except InputError as error:
            if not self.skip:
                raise
            self.skipped.append((shard.name, str(error)))

    def _opened(self, images: list[Any], names: list[str]) -> tuple[Tensor, Tensor, list[str]]:
        """The transformed images, their fingerprints, and the names of their classes."""
        try:
            pixels = self.encoder.pixels(images, keep_bytes=0)
            marks = pixels.record_marks()
            return pixels.batch(torch.arange(len(images))), marks, names
        except UnreadableImage:
            if not self.skip:
                raise
        bad = find_unreadable_images(images)
        self.skipped.extend((str(getattr(images[place], "name", images[place])), reason) for place, reason in bad.items())
        good = [place for place in range(len(images)) if place not in bad]
        return self._opened([images[place] for place in good], [names[place] for place in good])
