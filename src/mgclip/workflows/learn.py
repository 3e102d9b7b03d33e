"""Teach a model folder the classes of an image folder, as its next version; say what it will take, and what it changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mgclip.clip.adapters import without_adapters
from mgclip.errors import InputError
from mgclip.method.learner import MGCLIP
from mgclip.method.replay import check_room
from mgclip.method.task import make_task
from mgclip.method.training import OnStep
from mgclip.names import find, same
from mgclip.saving.store import HELD_OUT
from mgclip.stream.duplicates import describe_duplicates
from mgclip.stream.folder import misspelling
from mgclip.workflows.held_out import as_json, held_out_images, read_held_out
from mgclip.workflows.measure import LabelledImages, accuracy, gap_of, text_accuracy
from mgclip.workflows.source import Source
from mgclip.workflows.split import hold_out
from mgclip.workflows.task_checkpoints import open_task_checkpoints, remove_task_checkpoints

TRAINED = 2.3
"""Time of an image forward and backward, in times of encoding it (docs/performance.md)."""
TIMED = 16
"""Images that are encoded to tell how fast this machine is."""


@dataclass(frozen=True)
class Plan:
    """What ``learn_folder`` will do.

    Attributes:
        train: Training images by class.
        tests: Images to measure on by class, held out or given.
        texts: What prompts call each class.
        known: Number of classes the model knows already.
        seconds: Estimated time for the shortest and the longest adapter phase that the settings allow.
        notes: What is not used or not measured, one sentence each.
    """

    train: dict[str, list[Path]]
    tests: dict[str, list[Path]]
    texts: tuple[str, ...]
    known: int
    seconds: tuple[float, float]
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Training images."""
        return sum(map(len, self.train.values()))

    @property
    def test_images(self) -> int:
        """Images measured on."""
        return sum(map(len, self.tests.values()))


def make_plan(model: MGCLIP, source: Source, *, share: float, seed: int) -> Plan:
    """Decide what is trained on and what is held out, and see that all of it can be learned, before anything is written.

    Raises ``InputError`` for what cannot be learned, such as a class the model knows already, for a test folder that looks like
    a misspelling, for a link to an image that is not there, and for an image among those timed that cannot be read.
    """
    if source.tests is None:
        train, tests = hold_out(source.train, share=share, seed=seed)
        missing: tuple[str, ...] = ()
    else:
        train, (tests, missing) = source.train, _tests(model, source.train, source.tests)
    files = [file for own in train.values() for file in own]
    labels = [name for name, own in train.items() for _ in own]
    measured = [file for own in tests.values() for file in own]
    if gone := [file for file in (*files, *measured) if not file.exists()]:
        raise InputError(f"The image {gone[0]} is not there, or a link to something that is not: repair or remove it.")
    if source.tests and not tests:
        raise InputError("The test folder has none of the classes to learn: its folders must be called as theirs are.")
    notes = tuple(note for note in (source.note, *missing, describe_duplicates(files, measured)) if note)
    texts = tuple(source.texts.get(name, name) for name in train)
    make_task(
        model.encoder.pixels(files), labels, list(train), index=0, known=model.class_names, class_texts=texts
    )  # refuses what cannot be learned
    if model.settings.memory:
        check_room(model.settings.memory, len(model.class_names) + len(train))
    some = files[:: max(1, len(files) // TIMED)][:TIMED]
    model.encoder.images(model.encoder.pixels(some[:1]))
    begun = time.perf_counter()
    model.encoder.images(model.encoder.pixels(some))
    each = (time.perf_counter() - begun) / len(some)
    images, others = len(files), 3 * sum(map(len, tests.values()))
    once = model.epochs is not None
    # The probe measures after each epoch; stopped, it has trained one epoch too many and begins anew.
    most = model.settings.max_epochs
    low, high = (model.epochs or 0,) * 2 if once else (min(2, most), max(2, 2 * most - 1))
    if len(train) == 1 and not model.settings.memory:  # nothing to tell apart: the adapters are not trained
        once, low, high = True, 0, 0
    passes = [images * (1 + epochs * (TRAINED + (not once))) + others for epochs in (low, high)]
    return Plan(train, tests, texts, len(model.class_names), (each * passes[0], each * passes[1]), notes)


def _tests(
    model: MGCLIP, train: Mapping[str, Sequence[Path]], given: Mapping[str, list[Path]]
) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """The test images of the classes to learn, under these classes' names, and what is not measured.

    Raises ``InputError`` for a test folder that is probably a misspelling of a class without test images.
    """
    called = {same(name): files for name, files in given.items()}
    tests = {name: called[same(name)] for name in train if called.get(same(name))}
    missing = [name for name in train if name not in tests]
    extra = [name for name in given if find(name, train) is None]
    strange = [name for name in extra if find(name, model.class_names) is None]
    for name in missing:
        if (near := misspelling(name, strange)) is not None:
            raise InputError(
                f"The class {name!r} has no test image, and the test folder {near!r} is not a class to learn: "
                "give both folders one name, or remove the test folder."
            )
    notes = []
    if missing and tests:
        notes.append(f"new classes without test images, so not measured: {', '.join(missing)}")
    if extra and tests:
        notes.append(f"test folders that are not classes to learn, and not used: {', '.join(extra)}")
    return tests, tuple(notes)


def alike_texts(model: MGCLIP, plan: Plan) -> list[tuple[str, str]]:
    """Pairs of class texts, one or both of them new, that are the same tokens to this CLIP, which cuts long texts."""
    texts = [*model.class_texts, *plan.texts]
    tokens = model.backbone.tokenize([model.settings.prompt.format(text) for text in texts]).tolist()
    first: dict[tuple[int, ...], int] = {}
    pairs = []
    for place, (text, row) in enumerate(zip(texts, tokens, strict=True)):
        earlier = first.setdefault(tuple(row), place)
        if place >= len(model.class_texts) and earlier != place:
            pairs.append((texts[earlier], text))
    return pairs


def learn_folder(
    model: MGCLIP,
    folder: Path,
    plan: Plan,
    *,
    origin: str,
    retention: Mapping[str, Sequence[Path]] | None = None,
    skipped: Sequence[Mapping[str, str]] = (),
    on_step: OnStep = lambda step: None,
    checkpoint_every: int = 100,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Learn what is planned, save it as the next version of ``folder``, and return its note: what was done and what changed.

    ``retention``: images of classes never to be trained on, by class. ``skipped``: what was left out before, for the note.
    ``stop`` is asked after each step of the adapters: if it says so, that step is kept and ``Stopped`` raised. Interrupted or
    failed, the version in force stays, and the same learn goes on from its last checkpoint, one each ``checkpoint_every`` steps.
    Whoever calls this holds the folder's lock since the model was read.
    """
    begun = time.perf_counter()
    remembered = read_held_out(folder)
    old_images, gone = held_out_images(folder, model.class_names)
    new, (old, torn) = LabelledImages.of(model, plan.tests), LabelledImages.readable(model, old_images)
    kept = LabelledImages.of(model, retention or {})
    before = model.classify(old.features(model)).names if len(old) else []
    with without_adapters(model.backbone):
        first = _by_text(model, plan, (new, new.features(model)), (old, old.features(model)), kept)
    files = [file for own in plan.train.values() for file in own]
    labels = [name for name, own in plan.train.items() for _ in own]
    checkpoints = open_task_checkpoints(folder, model, plan.train, plan.texts, every=checkpoint_every, stop=stop)
    learned = model.learn(
        files, labels, list(plan.train), class_texts=plan.texts, on_step=on_step, checkpoints=checkpoints
    )
    features = new.features(model), old.features(model)
    after = [model.classify(part).names if len(part) else [] for part in features]
    note = {
        "what": f"learned {len(plan.train)} class{'es' if len(plan.train) > 1 else ''}",
        "origin": origin,
        "classes": list(plan.train),
        "images": plan.images,
        **({"skipped": list(skipped)} if skipped else {}),
        **({"notes": list(plan.notes)} if plan.notes else {}),
        "epochs": learned.epochs,
        "test_images": {"new": len(new), "old": len(old), "gone": gone + torn},
        "accuracy": {
            "new": accuracy(after[0], new.truth),
            "old": accuracy(after[1], old.truth),
            "old_before": accuracy(before, old.truth),
            "all": accuracy([*after[0], *after[1]], [*new.truth, *old.truth]),
        },
        "untuned": first,
        "tuned": _by_text(model, plan, (new, features[0]), (old, features[1]), kept),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    held = {name: places for name, places in remembered.items() if find(name, model.class_names) is not None}
    model.save_pretrained(folder, note=note, beside={HELD_OUT: as_json({**held, **plan.tests})})
    remove_task_checkpoints(folder)
    return note


def _by_text(
    model: MGCLIP,
    plan: Plan,
    new: tuple[LabelledImages, Tensor],
    old: tuple[LabelledImages, Tensor],
    kept: LabelledImages,
) -> dict[str, Any]:
    """What the text branch makes of images and their features now: the gap on the new classes, and accuracy by texts alone."""
    own = dict(zip(plan.train, plan.texts, strict=True))
    known = {**dict(zip(model.class_names, model.class_texts, strict=True)), **own}
    return {
        "gap": gap_of(model, new[1], new[0].truth, own),
        "by_text": text_accuracy(model, torch.cat([new[1], old[1]]), [*new[0].truth, *old[0].truth], known),
        "retention": text_accuracy(
            model, kept.features(model), kept.truth, {name: name for name in dict.fromkeys(kept.truth)}
        ),
    }


def gap_moved(note: Mapping[str, Any]) -> float | None:
    """By how much the negative similarity of the new classes has moved from the un-tuned CLIP's, as a share of it."""
    before, after = note["untuned"]["gap"], note["tuned"]["gap"]
    if before is None or after is None or before["negative"] == 0:
        return None
    return float(after["negative"] / before["negative"] - 1)
