"""What one process has learned from shards so far: sums over their images. They are saved after each shard, so that a failure
loses only the current shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.representation import Representation
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.random_features import RandomFeatures
from mgclip.method.analytic.sums import Sums
from mgclip.saving.checked_file import read_checked, write_checked

PARTS = "part-*.safetensors"
"""The files of partial sums, one for each process. Their numbers grow when another command resumes them."""
ABOUT = ("model", "gamma", "representation", "chosen_from", "names", "shards", "skipped", "known")
"""The fields of sums besides their tensors."""


@dataclass
class ShardSums:
    """Sums over the images of some shards.

    Attributes:
        model: What identifies the model that learns.
        gamma: The inverse width of the kernel.
        representation: What the image features are.
        sums: The sums; class i has the name ``names[i]``.
        images: Fingerprint and class of every image.
        sample: The images with the smallest fingerprints, with their features.
        chosen_from: What identifies the shards from whose first images ``gamma`` and ``representation`` were chosen.
        names: The classes, in the order in which they came.
        shards: What identifies the shards that are in the sums.
        skipped: What could not be read, an image or the rest of a shard, and why.
        known: The number of images left out because the model had learned them before.
    """

    model: str
    gamma: float
    representation: Representation
    sums: Sums
    images: Images
    sample: Images
    chosen_from: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    known: int = 0

    @classmethod
    def empty(cls, model: str, fourier: RandomFeatures, chosen_from: Sequence[str], device: torch.device) -> ShardSums:
        """Sums over no images, with these random features."""
        none = torch.empty(0, dtype=torch.long, device=device)
        images, sample = (Images(none, none, torch.empty(0, length, device=device)) for length in (0, fourier.dim))
        kind = model, fourier.gamma, fourier.representation
        return cls(*kind, Sums.empty(fourier.width + 1, device), images, sample, [*chosen_from])

    @property
    def encoded(self) -> int:
        """How many images were encoded."""
        return len(self.images) + self.known

    def copies(self) -> tuple[int, int]:
        """The number of images that repeat the pixels of another one, and the number of different images in several classes."""
        marks = self.images.marks.unique()
        of_classes = torch.stack([self.images.marks, self.images.labels], dim=1).unique(dim=0)[:, 0]
        in_several = int((of_classes.unique(return_counts=True)[1] > 1).sum())
        return len(self.images) - len(marks), in_several

    def add(self, phi: Tensor, images: Images, names: Sequence[str]) -> None:
        """Add images.

        Args:
            phi: Their random features ``(n, m)``.
            images: The images; their labels are positions in ``names``.
            names: The names of their classes.
        """
        places = {name: place for place, name in enumerate(self.names)}
        for name in names:
            places.setdefault(name, len(places))
        self.names = list(places)
        labels = torch.tensor([places[name] for name in names], dtype=torch.long, device=phi.device)[images.labels]
        self.sums = self.sums.padded(len(places))
        self.sums.add(phi, labels)
        labelled = replace(images, labels=labels)
        self.images = self.images.plus(labelled.without_features())
        self.sample = self.sample.plus(labelled).sampled()

    def plus(self, other: ShardSums) -> None:
        """Add the sums over other shards."""
        names = list(dict.fromkeys([*self.names, *other.names]))
        own, more = self._placed(names), other._placed(names)
        self.names, self.sums = names, own.sums.merged(more.sums, range(len(names)))
        self.images, self.sample = own.images.plus(more.images), own.sample.plus(more.sample).sampled()
        self.shards, self.skipped = [*self.shards, *other.shards], [*self.skipped, *other.skipped]
        self.known += other.known

    def _placed(self, names: Sequence[str]) -> ShardSums:
        """These sums with each class at its position in ``names``, which has all of them."""
        places = {name: place for place, name in enumerate(names)}
        index = [places[name] for name in self.names]
        device = self.sums.gram.device
        sums = Sums.empty(len(self.sums.gram), device).merged(self.sums, index).padded(len(names))
        positions = torch.tensor(index, dtype=torch.long, device=device)
        images, sample = (replace(part, labels=positions[part.labels]) for part in (self.images, self.sample))
        return replace(self, sums=sums, images=images, sample=sample, names=list(names))

    def all_processes(self, names: Sequence[str]) -> ShardSums:
        """The sums over the shards of all processes, the same in each, with each class at its position in ``names``."""
        own = self._placed(names)
        marks, labels = parallel.gather_rows(torch.stack([own.images.marks, own.images.labels], dim=1)).unbind(1)
        parts = own.sample.marks, own.sample.labels, own.sample.features
        return replace(
            own,
            sums=own.sums.all_processes(),
            images=Images(marks, labels, own.images.features.new_empty(len(marks), 0)),
            sample=Images(*map(parallel.gather_rows, parts)).sampled(),
            shards=parallel.gather_items(self.shards),
            skipped=parallel.gather_items(self.skipped),
            known=sum(parallel.gather_items([self.known])),
        )

    def save(self, folder: Path, number: int) -> None:
        """Write these sums atomically, as the part with this number, into a folder, which is created if it does not exist."""
        folder.mkdir(parents=True, exist_ok=True)
        write_checked(folder / PARTS.replace("*", str(number)), {key: getattr(self, key) for key in ABOUT}, self._tensors())

    def _tensors(self) -> dict[str, Tensor]:
        images, sample = self.images, self.sample
        return {
            "gram": self.sums.gram,
            "targets": self.sums.targets,
            "counts": self.sums.counts,
            "marks": images.marks,
            "labels": images.labels,
            "sample_marks": sample.marks,
            "sample_labels": sample.labels,
            "sample_features": sample.features,
        }


def unused_number(folder: Path) -> int:
    """The first number that is larger than those of all parts in a folder."""
    return 1 + max(map(_number, folder.glob(PARTS)), default=-1)


def remove_parts(folder: Path, below: int) -> None:
    """Remove the parts with numbers below this one."""
    for file in folder.glob(PARTS):
        if _number(file) < below:
            file.unlink()


def _number(file: Path) -> int:
    number = file.name.removeprefix("part-").removesuffix(".safetensors")
    return int(number) if number.isdecimal() else -1


def read_sums(file: Path, device: torch.device) -> ShardSums | None:
    """The sums in a file, on a device; None if it is damaged."""
    read = read_checked(file)
    if read is None:
        return None
    about, named = read
    try:
        part = {name: tensor.to(device) for name, tensor in named.items()}
        images = Images(part["marks"], part["labels"], torch.empty(len(part["marks"]), 0, device=device))
        sample = Images(part["sample_marks"], part["sample_labels"], part["sample_features"])
        about["skipped"] = list(map(tuple, about["skipped"]))  # JSON has lists only
        return ShardSums(sums=Sums(part["gram"], part["targets"], part["counts"]), images=images, sample=sample, **about)
    except (KeyError, TypeError):
        return None
