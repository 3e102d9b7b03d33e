"""Shards of icons in memory, and models that learn them."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from icon_tasks import task

from mgclip import MGCLIP
from mgclip.errors import DamagedShard
from mgclip.method.methods import ANALYTIC

SETTINGS = {**ANALYTIC, "features": 64}


@dataclass
class Shard:
    """Images in memory with the names of their classes. It notes what was read, and may break when it is read again: each shard
    is opened first for the width of the kernel.
    """

    name: str
    items: list
    breaks_after: int | None = None
    read: list = field(default_factory=list)
    opened: int = 0

    def __iter__(self):
        self.opened += 1
        for number, item in enumerate(self.items):
            if number == self.breaks_after and self.opened > 1:
                raise DamagedShard(self.name, "to its end", "torn")
            self.read.append(number)
            yield item


def shards(icons, number=5, classes=range(6), seed=0):
    images, labels, names = task(icons, list(classes))
    order = np.random.default_rng(seed).permutation(len(images))
    parts = np.array_split(order, number)
    return [Shard(f"shard {i}", [(images[k], names[labels[k]]) for k in part]) for i, part in enumerate(parts)]


def new(clip, **more):
    return MGCLIP.from_pretrained(clip, settings={**SETTINGS, **more})


def same(found, expected, within=1e-8):
    """The same classes, images, answers and weights, whatever the order of the classes."""
    order = [found.class_names.index(name) for name in expected.class_names]
    one, two = found.solved.weights[:, order], expected.solved.weights
    assert (one - two).abs().max() <= within * two.abs().max()
    assert sorted(found.solved.learned.marks.tolist()) == sorted(expected.solved.learned.marks.tolist())
    assert found.solved.calibration.accuracy == expected.solved.calibration.accuracy
    assert found.solved.calibration.head == pytest.approx(expected.solved.calibration.head, rel=1e-5)
