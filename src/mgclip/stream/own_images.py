"""Images of a data set of another package: an error while one of them is opened names the data set and the image."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from mgclip.errors import InputError
from mgclip.images import MemberImage, UnreadableImage, to_rgb
from mgclip.stream.data import Joined, Subset
from mgclip.stream.files import ClassFiles
from mgclip.stream.shard_images import ShardImages

Naming = Callable[[str], AbstractContextManager[None]]
"""Returns a context in which errors name the data set and what it did, as in *opened image 7 of train*."""


class OwnImages(Sequence[Any]):
    """Images of another package, each of which is opened and tried when it is looked up."""

    def __init__(self, images: Sequence[Any], part: str, naming: Naming) -> None:
        self.images, self.part, self.naming = images, part, naming
        for method in ("name_of", "group_of"):
            if hasattr(images, method):
                setattr(self, method, getattr(images, method))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        position = range(len(self))[int(index)]
        with self.naming(f"opened image {position} of {self.part}"):
            try:
                image = self.images[position]
                if not isinstance(image, str | os.PathLike | MemberImage):  # their errors name the file
                    to_rgb(image)
            except UnreadableImage:
                raise
            except InputError as error:  # it names no image
                raise ValueError(str(error)) from None
        return image


def naming_own(images: Sequence[Any], part: str, naming: Naming) -> Sequence[Any]:
    """The images of a part, of which those that are neither files nor in shards become ``OwnImages``."""
    if isinstance(images, Subset):
        return Subset(naming_own(images.items, part, naming), images.positions)
    return images if isinstance(images, ClassFiles | ShardImages | Joined) else OwnImages(images, part, naming)
