"""Predict image files in order, a batch at a time: the next batch is opened while this one is encoded."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path

import torch

from mgclip.clip.pixels import prefetch
from mgclip.errors import InputError
from mgclip.images import UnreadableImage, find_unreadable_images
from mgclip.method.alike_texts import warn_of_alike_texts
from mgclip.method.baselines.make import Learner
from mgclip.method.predictions import Predictions, candidate_texts, without_article
from mgclip.names import visible_form
from mgclip.workflows.answers import UNKNOWN, Answer, RankedClass


def predict_files(
    model: Learner,
    files: Iterable[Path],
    *,
    top: int = 1,
    candidates: Sequence[str] = (),
    threshold: float | None = None,
    on_bad: Callable[[Path, str], None] | None = None,
    batch: int | None = None,
) -> Iterator[Answer]:
    """Predict the classes of files, in their order.

    Args:
        model: The model.
        files: Image files. They may come from a generator; the answers do not wait for more files than a batch.
        top: Number of classes in an answer.
        candidates: Candidate classes that are recognised by their text only.
        threshold: Images with a lower likeness to every learned class are unknown; 0: none is; default: the
            model's ``unknown_below``.
        on_bad: Called with each unreadable file and the reason; the file is then skipped.
        batch: Images per batch; default: the model's setting.

    Raises:
        InputError: If a file is unreadable and there is no ``on_bad``; or, before any prediction, if the threshold is not between
            0 and 1, or if there is one and the model has no head or has a class called *unknown*.

    Example:
        >>> from mgclip import MGCLIP
        >>> model = MGCLIP.from_pretrained("shop")
        >>> [answer.name for answer in predict_files(model, [Path("march/bar/0.png"), Path("march/minus/0.png")])]
        ['bar', 'minus']
    """
    threshold = model.settings.unknown_below if threshold is None else threshold
    if not 0 <= threshold <= 1:
        raise InputError(f"The threshold for unknown images is a number from 0 to 1; found {threshold}.")
    if threshold:
        check_unknown(model, candidates)
    if candidates:
        texts = [without_article(text) for text in candidate_texts(candidates, model.class_names)]
        warn_of_alike_texts(model.backbone, model.settings, model.class_texts, texts)
    return _predict_chunks(model, _chunks(files, batch or model.settings.encode_batch_size), top, candidates, threshold, on_bad)


def split_candidates(text: str) -> list[str]:
    """The candidate classes in a text that separates them by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def check_unknown(model: Learner, candidates: Sequence[str] = ()) -> None:
    """Check that the model can detect unknown images, and that no class has the name of that answer."""
    if not model.settings.uses_head:
        stored = " and set unknown_below=0 if the model stores one" if model.settings.unknown_below else ""
        raise InputError(
            f"A threshold needs the head, and this model predicts from texts only (branches: text): give no threshold{stored}."
        )
    if same := [name for name in (*model.class_names, *candidates) if visible_form(name).casefold() == UNKNOWN]:
        raise InputError(
            f"A class is called {same[0]!r}, which is the answer for unknown images: rename it (among the candidates, or with "
            "`mgclip relabel`), or predict without a threshold."
        )


def _predict_chunks(
    model: Learner,
    chunks: Iterator[list[Path]],
    top: int,
    candidates: Sequence[str],
    threshold: float,
    on_bad: Callable[[Path, str], None] | None,
) -> Iterator[Answer]:
    def load(_: int) -> Loaded | None:  # runs in a thread, so that answers do not wait for the next files
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
                features = model.encoder.batch(pixels)
            yield from _answers(readable, model.classify(features, candidates=candidates), top, threshold)


Loaded = tuple[list[Path], torch.Tensor, list[tuple[Path, str]]]
"""Readable files, their transformed images, and unreadable files with the reason."""


def _chunks(files: Iterable[Path], size: int) -> Iterator[list[Path]]:
    files = iter(files)
    while chunk := list(islice(files, size)):
        yield chunk


def _readable(model: Learner, chunk: list[Path], *, keep_going: bool) -> Loaded:
    reasons = [_not_a_file(file) for file in chunk]
    bad = {index: reason for index, reason in enumerate(reasons) if reason}
    if bad and not keep_going:
        index = min(bad)
        raise UnreadableImage(chunk[index], bad[index])
    good = [index for index in range(len(chunk)) if index not in bad]
    try:
        return _prepared(model, chunk, good, bad)
    except InputError:
        if not keep_going:
            raise
    bad |= {good[index]: reason for index, reason in find_unreadable_images([chunk[index] for index in good]).items()}
    return _prepared(model, chunk, [index for index in good if index not in bad], bad)


def _prepared(model: Learner, chunk: list[Path], good: list[int], bad: dict[int, str]) -> Loaded:
    files = [chunk[index] for index in good]
    pixels = model.encoder.pixels(files, keep_bytes=0).batch(torch.arange(len(files)))
    return files, pixels, [(chunk[index], bad[index]) for index in sorted(bad)]


def _not_a_file(path: Path) -> str:
    """Why a path is not a regular file; empty if it is one, or does not exist.

    Opening a pipe would wait for its writer, and reading a device may never end.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:  # a link to itself, a name that is too long, an invalid character
        return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    if stat.S_ISDIR(mode):
        return "it is a folder"
    return "" if stat.S_ISREG(mode) else "it is a device, a pipe or a socket"


def _answers(files: Sequence[Path], found: Predictions, top: int, threshold: float) -> Iterator[Answer]:
    learned = found.head_scores.shape[1]
    for place, (file, best) in enumerate(zip(files, found.order(top).tolist(), strict=True)):
        classes = tuple(
            RankedClass(
                found.classes[label],
                float(found.confidence[place, label]),
                float(found.text_probabilities[place, label]),
                float(found.head_scores[place, label]) if label < learned else None,
            )
            for label in best
        )
        likeness = float(found.likeness[place])
        known = threshold == 0 or likeness >= threshold or best[0] >= learned  # a likeness can be negative
        yield Answer(file, classes[0].name if known else None, likeness, classes)
