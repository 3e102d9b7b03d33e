"""What a run shows of its last evaluation: accuracy per class, confusions, and some images right and wrong, small."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgclip.disk import replace_file, write_json
from mgclip.experiment.confusion import confused, per_class
from mgclip.experiment.records import FINAL
from mgclip.images import to_rgb
from mgclip.stream.tasks import Task

EXAMPLES = 8
"""Images shown of those classified right, and of those classified wrong."""
SIDE = 160
"""Longer side of a shown image, in pixels."""


def write_final(folder: Path, stream: Sequence[Task], found: NDArray[Any], probability: NDArray[Any]) -> None:
    """Write ``final.json`` and ``examples/*.png`` of the answers ``(n,)`` for all test images of a stream, task after task, and
    the probability ``(n,)`` of each.
    """
    names = [name for task in stream for name in task.names]
    truth = np.concatenate([task.test.labels + task.first for task in stream])
    tasks = {name: task.index for task in stream for name in task.names}
    classes = [{**row, "task": tasks[row["name"]]} for row in per_class(names, truth, found)]
    images = [(task, place) for task in stream for place in range(len(task.test.labels))]
    (folder / "examples").mkdir(exist_ok=True)
    examples = []
    for number, place in enumerate([*_some(found == truth), *_some(found != truth)]):
        task, position = images[place]
        picture = to_rgb(task.test.images[position])
        picture.thumbnail((SIDE, SIDE))
        file = f"examples/{number:03}.png"
        encoded = io.BytesIO()
        picture.save(encoded, "png")
        replace_file(folder / file, encoded.getvalue())
        answer = {
            "truth": names[truth[place]],
            "predicted": names[found[place]],
            "probability": float(probability[place]),
        }
        examples.append({"file": file, **answer, "right": bool(found[place] == truth[place])})
    write_json(folder / FINAL, {"classes": classes, "confused": confused(names, truth, found), "examples": examples})


def _some(which: NDArray[Any], most: int = EXAMPLES) -> list[int]:
    """Positions of some of those, spread evenly over all of them."""
    places = np.flatnonzero(which)
    return [int(place) for place in places[np.linspace(0, len(places) - 1, min(most, len(places))).astype(int)]]
