"""The last evaluation of a method: accuracy per class, confusions, and some small example images, right and wrong."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mgclip.disk import replace_file, write_json
from mgclip.experiment.branch_answers import BranchAnswers
from mgclip.experiment.evaluation import confused, per_class
from mgclip.experiment.run_folder import FINAL
from mgclip.experiment.schemas import ClassCount, Example, Final
from mgclip.images import to_rgb
from mgclip.stream.tasks import Task, training_counts

EXAMPLES = 8
"""Example images of each kind, right and wrong."""
SIDE = 160
"""Longer side of an example image, in pixels."""


def write_final(folder: Path, stream: Sequence[Task], answers: BranchAnswers) -> None:
    """Write ``final.json`` and ``examples/*.png`` into the folder of a method, from its answers for the test images of all tasks
    in order.
    """
    predicted, probability = answers.labels, answers.probabilities
    names = [name for task in stream for name in task.names]
    truth = np.concatenate([task.test_labels for task in stream])
    tasks = {name: task.index for task in stream for name in task.names}
    rows = zip(per_class(names, truth, predicted), training_counts(stream).tolist(), strict=True)
    classes: list[ClassCount] = [{**row, "task": tasks[row["name"]], "train": train} for row, train in rows]
    images = [(task, position) for task in stream for position in range(len(task.test.labels))]
    (folder / "examples").mkdir(exist_ok=True)
    examples: list[Example] = []
    for number, index in enumerate([*_evenly_spread(predicted == truth), *_evenly_spread(predicted != truth)]):
        task, position = images[index]
        picture = to_rgb(task.test.images[position])
        picture.thumbnail((SIDE, SIDE))
        file = f"examples/{number:03}.png"
        encoded = io.BytesIO()
        picture.save(encoded, "png")
        replace_file(folder / file, encoded.getvalue())
        examples.append(
            {
                "file": file,
                "truth": names[truth[index]],
                "predicted": names[predicted[index]],
                "probability": float(probability[index]),
                "right": bool(predicted[index] == truth[index]),
            }
        )
    final: Final = {"classes": classes, "confused": confused(names, truth, predicted), "examples": examples}
    write_json(folder / FINAL, final)


def _evenly_spread(which: NDArray[np.bool_]) -> list[int]:
    """Indices of at most ``EXAMPLES`` true values, evenly spread."""
    indices = np.flatnonzero(which)
    return [int(index) for index in indices[np.linspace(0, len(indices) - 1, min(EXAMPLES, len(indices))).astype(int)]]
