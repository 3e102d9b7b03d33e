"""Classify any number of image files, in order, a batch at a time: the next one is opened while this one is encoded."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path

import torch

from mgclip.clip.pixels import prefetch
from mgclip.errors import InputError
from mgclip.images import UnreadableImage, unreadable
from mgclip.method.learner import MGCLIP
from mgclip.method.predictions import Predictions
from mgclip.workflows.answers import UNKNOWN, Answer, RankedClass


def predict_files(
    model: MGCLIP,
    files: Iterable[Path],
    *,
    top: int = 1,
    also: Sequence[str] = (),
    threshold: float = 0.0,
    on_bad: Callable[[Path, str], None] | None = None,
    batch: int | None = None,
) -> Iterator[Answer]:
    """Answers for files, in their order.

    Args:
        model: The model that is asked.
        files: Image files; they may come one by one.
        top: How many classes an answer shows.
        also: Classes known by their text alone.
        threshold: The least likeness to a learned class of an image that is not unknown.
        on_bad: Called with each file that cannot be read, and the reason; the file is then left out.
        batch: Images at a time; the model's own number by default.

    Raises:
        InputError: If a file cannot be read and there is no ``on_bad``; and at once if there is a threshold and the model has no
            head, or a class has the name that stands for an unknown image.
    """
    if threshold:
        _check_unknown(model, also)
    return _recognise(model, _chunks(files, batch or model.settings.encode_batch_size), top, also, threshold, on_bad)


def _check_unknown(model: MGCLIP, also: Sequence[str]) -> None:
    """See that an unknown image can be told, and its answer told apart from every class."""
    if not model.settings.uses_head:
        raise InputError("This model predicts by texts alone (branches: text), so nothing tells what it does not know.")
    if same := [name for name in (*model.class_names, *also) if name.strip().casefold() == UNKNOWN]:
        raise InputError(
            f"A class is called {same[0]!r}, as is the answer for an image of no class: give the class another name "
            "(mgclip relabel), or ask without a threshold (--unknown-below)."
        )


def _recognise(
    model: MGCLIP,
    chunks: Iterator[list[Path]],
    top: int,
    also: Sequence[str],
    threshold: float,
    on_bad: Callable[[Path, str], None] | None,
) -> Iterator[Answer]:

    def load(
        _: int,
    ) -> Loaded | None:  # on its own thread: if files come one by one, answers do not wait for more
        chunk = next(chunks, None)
        return None if chunk is None else _readable(model, chunk, keep_going=on_bad is not None)

    for _, loaded in prefetch(load, count()):
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
    reasons = [_no_file(file) for file in chunk]
    bad = {place: reason for place, reason in enumerate(reasons) if reason}
    if bad and not keep_going:
        place = min(bad)
        raise UnreadableImage(chunk[place], bad[place])
    good = [place for place in range(len(chunk)) if place not in bad]
    try:
        return _prepared(model, chunk, good, bad)
    except InputError:
        if not keep_going:
            raise
    bad |= {good[place]: reason for place, reason in unreadable([chunk[place] for place in good]).items()}
    return _prepared(model, chunk, [place for place in good if place not in bad], bad)


def _prepared(model: MGCLIP, chunk: list[Path], good: list[int], bad: dict[int, str]) -> Loaded:
    files = [chunk[place] for place in good]
    pixels = model.encoder.pixels(files, keep_bytes=0).batch(torch.arange(len(files)))
    return files, pixels, [(chunk[place], bad[place]) for place in sorted(bad)]


def _no_file(place: Path) -> str:
    """Why something is not a file that can hold an image; empty if it is one, or is missing.

    Opening a pipe would wait for whoever writes into it, and a device may never end.
    """
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:  # a link to itself, a name too long, a character that no name has
        return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    if stat.S_ISDIR(mode):
        return "it is a folder"
    return "" if stat.S_ISREG(mode) else "it is a device, a pipe or a socket"


def _answers(files: Sequence[Path], found: Predictions, top: int, threshold: float) -> Iterator[Answer]:
    learned = found.image.shape[1]
    for place, (file, best) in enumerate(zip(files, found.order(top).tolist(), strict=True)):
        classes = tuple(
            RankedClass(
                found.classes[label],
                float(found.probabilities[place, label]),
                float(found.confidence[place, label]),
                float(found.text[place, label]),
                float(found.image[place, label]) if label < learned else None,
            )
            for label in best
        )
        likeness = float(found.likeness[place])
        known = likeness >= threshold or best[0] >= learned
        yield Answer(file, classes[0].name if known else None, likeness, classes)
