"""Reads shards from start to end, and encodes their images in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from typing import Any, Protocol

import torch
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.encoder import Encoder, check_finite
from mgclip.clip.pixels import PreparedImages, prefetch
from mgclip.errors import DamagedShard, InputError
from mgclip.images import UnreadableImage, find_unreadable_images
from mgclip.method.analytic.learned_images import Images
from mgclip.names import canonical
from mgclip.words import count, were


class ImageShard(Protocol):
    """A shard: a name, and images with the names of their classes, in order."""

    @property
    def name(self) -> str:
        """What errors and checkpoints call it."""

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        """Its images. Raises ``DamagedShard`` if it cannot be read to its end."""


def check_shards(shards: Sequence[ImageShard], versions: Sequence[str]) -> None:
    """Check that each shard is given once, and that all processes have the same shards.

    Args:
        shards: The shards.
        versions: What identifies each of them and its content.

    Raises:
        InputError: If they are not, or there is none.
    """
    if not shards:
        raise InputError("There is no shard to learn: give at least one.")
    name, number = Counter(shard.name for shard in shards).most_common(1)[0]
    if number > 1:
        raise InputError(f"{number} shards are called {name}, so one could not be told from the other: give each shard once.")
    parallel.check_same_in_all_processes("shards", lambda: list(versions))


@dataclass
class ShardReader:
    """Reads and encodes the images of one shard.

    Attributes:
        encoder: The CLIP.
        skip: Whether to leave out what cannot be read, instead of raising an error.
        read: The number of images encoded so far.
        skipped: The images left out so far, and why.
        damage: The error that ended the shard before its end, if it was skipped.
    """

    encoder: Encoder
    skip: bool
    read: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    damage: DamagedShard | None = None

    def left_out(self, used: int, how: str) -> list[tuple[str, str]]:
        """List what was left out, images or the rest of the shard, and why.

        Args:
            used: The number of its images that were used.
            how: What was done with them, such as *learned*.
        """
        if self.damage is None:
            return self.skipped
        what = f"{count(used, 'image')} of it {were(used)} {how}, and the rest" if self.read else "it"
        return [*self.skipped, (self.damage.shard, f"{what} cannot be read: {self.damage.reason}")]

    def encoded(self, shard: ImageShard, most: int | None = None) -> Iterator[tuple[Images, list[str]]]:
        """Encode the images of a shard in batches. The next batch is read and opened while one is encoded.

        Args:
            shard: The shard.
            most: Stop after this number of images; None reads all.

        Yields:
            The fingerprints and features of a batch, with 0 as the label of each image; and the names of their classes.

        Raises:
            InputError: If an image or the shard cannot be read and is not to be skipped.
        """
        items = islice(self._items(shard), most)

        def load(_: None) -> tuple[Tensor, Tensor, list[str]] | None:  # runs in a thread
            batch = list(islice(items, self.encoder.batch_size))
            return self._opened([image for image, _ in batch], [canonical(label) for _, label in batch]) if batch else None

        for _, loaded in prefetch(load, repeat(None)):
            if loaded is None:
                return
            pixels, marks, names = loaded
            if names:
                features = self.encoder.images(PreparedImages.of(pixels))
                check_finite(features)
                self.read += len(names)
                marks = marks.to(features.device)
                yield Images(marks, torch.zeros_like(marks), features), names

    def _items(self, shard: ImageShard) -> Iterator[tuple[Any, str]]:
        """The images of a shard, or those before the damage if it is damaged and that is skipped."""
        try:
            yield from shard
        except DamagedShard as error:
            if not self.skip:
                raise
            self.damage = error

    def _opened(self, images: list[Any], names: list[str]) -> tuple[Tensor, Tensor, list[str]]:
        """The transformed images, their fingerprints and the names of their classes, without what is skipped."""
        try:
            pixels = self.encoder.pixels(images, keep_bytes=0)
            marks = pixels.record_marks()
            return pixels.batch(torch.arange(len(images))), marks, names
        except UnreadableImage:
            bad = find_unreadable_images(images) if self.skip else {}
            if not bad:
                raise
        self.skipped.extend((str(getattr(images[place], "name", images[place])), reason) for place, reason in bad.items())
        good = [place for place in range(len(images)) if place not in bad]
        return self._opened([images[place] for place in good], [names[place] for place in good])
