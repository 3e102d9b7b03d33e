"""Classify any number of image files, in order, a batch at a time: the next one is opened while this one is encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch

from mgclip.clip.pixels import ahead
from mgclip.errors import InputError
from mgclip.images import unreadable
from mgclip.method.learner import MGCLIP
from mgclip.method.predictions import Predictions

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """What is said of one image: its class, or ``None`` where it is less like any learned class than the threshold and no
    candidate took it; how sure that is; how like the nearest learned class it is; and the best classes with the numbers of
    ``Predictions`` (``image`` is None for a candidate known by its text alone).
    """

    file: Path
    name: str | None
    confidence: float
    likeness: float
    best: tuple[dict[str, Any], ...]


def recognise(
    model: MGCLIP,
    files: Iterable[Path],
    *,
    top: int = 1,
    also: Sequence[str] = (),
    threshold: float = 0.0,
    on_bad: Callable[[Path, str], None] | None = None,
    batch: int | None = None,
) -> Iterator[Answer]:
    """Answers for files, in their order, ``batch`` at a time (the model's own number if not given). ``on_bad`` is
    told of a file that cannot be read, which is then left out.

    Raises ``InputError`` for such a file where there is no ``on_bad``, and for a threshold where the model has no head.
    """
    if threshold and not model.settings.uses_head:
        raise InputError("This model predicts by texts alone (branches: text), so nothing tells what it does not know.")

    chunks = _chunks(files, batch or model.settings.encode_batch_size)

    def load(
        _: int,
    ) -> Loaded | None:  # on its own thread: where files are a list as it comes, answers do not wait for more
        chunk = next(chunks, None)
        return None if chunk is None else _readable(model, chunk, keep_going=on_bad is not None)

    for _, loaded in ahead(load, count()):
        if loaded is None:
            return
        readable, pixels, unreadable = loaded
        for file, reason in unreadable:
            if on_bad is not None:
                on_bad(file, reason)
        if readable:
            with torch.no_grad():
                features = model.backbone.image_features(pixels)
            yield from _answers(readable, model.classify(features, also=also), top, threshold)


Loaded = tuple[list[Path], torch.Tensor, list[tuple[Path, str]]]
"""Files that could be read, transformed; and those that could not, with the reason."""


def _chunks(files: Iterable[Path], size: int) -> Iterator[list[Path]]:
    files = iter(files)
    while chunk := list(islice(files, size)):
        yield chunk


def _readable(model: MGCLIP, chunk: list[Path], *, keep_going: bool) -> Loaded:
    try:
        return chunk, model.encoder.pixels(chunk, keep_bytes=0).batch(torch.arange(len(chunk))), []
    except InputError:
        if not keep_going:
            raise
    found = unreadable(chunk)
    good = [file for place, file in enumerate(chunk) if place not in found]
    bad = [(chunk[place], reason) for place, reason in found.items()]
    return good, model.encoder.pixels(good, keep_bytes=0).batch(torch.arange(len(good))), bad


def _answers(files: Sequence[Path], found: Predictions, top: int, threshold: float) -> Iterator[Answer]:
    learned = found.image.shape[1]
    for place, (file, best) in enumerate(zip(files, found.order(top).tolist(), strict=True)):
        rows = tuple(
            {
                "class": found.classes[label],
                "probability": float(found.probabilities[place, label]),
                "confidence": float(found.confidence[place, label]),
                "text": float(found.text[place, label]),
                "image": float(found.image[place, label]) if label < learned else None,
            }
            for label in best
        )
        likeness = float(found.likeness[place])
        known = likeness >= threshold or best[0] >= learned
        yield Answer(file, rows[0]["class"] if known else None, rows[0]["confidence"], likeness, rows)
