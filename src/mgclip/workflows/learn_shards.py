"""Learn the classes of shards into a model folder, as its next version: each image is read once, and nothing is unpacked."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mgclip.clip import parallel
from mgclip.method.learner import MGCLIP
from mgclip.method.shards.learn_shards import NoNewImage, ShardsResult, check_one_pass
from mgclip.names import canonical, not_among
from mgclip.saving.store import HELD_OUT, check_state
from mgclip.stream.shard_versions import ShardVersion, shard_versions
from mgclip.stream.shards import Item, Shard, Shards
from mgclip.words import are, count, listed
from mgclip.workflows.advice import learn_report
from mgclip.workflows.branches import leave_one_out, left_out_branches
from mgclip.workflows.held_out import as_json, joined, not_learned, read_held_out
from mgclip.workflows.measure_shards import ShardAccuracies, measure_shards
from mgclip.workflows.naming import Naming, read_naming
from mgclip.workflows.note import LearnNote, LearnReport, TextMeasures, what_was_learned
from mgclip.workflows.task_checkpoints import progress_folder, remove_task_checkpoints
from mgclip.workflows.taught_model import TaughtModel

LISTED = 100
"""The most skipped images that a note lists."""


@dataclass(frozen=True)
class NamedShard:
    """A shard whose classes get other names than those in it."""

    shard: Shard
    called: Naming

    @property
    def name(self) -> str:
        """The name of the shard itself."""
        return self.shard.name

    def __iter__(self) -> Iterator[Item]:
        for image, label in self.shard:
            yield Item(image, self.called.get(canonical(label), (label, label))[0])


@dataclass(frozen=True)
class ShardJob:
    """What ``mgclip learn`` will do with shards.

    Attributes:
        place: Where the shards are.
        shards: The shards.
        model: The model to teach.
        called: Other names of the classes, and what prompts call them.
        skip: Whether to leave out what cannot be read.
    """

    place: str
    shards: Shards
    model: TaughtModel
    called: Naming
    skip: bool

    @cached_property
    def versions(self) -> list[ShardVersion]:
        """What shows whether a shard has changed before the command resumes."""
        return shard_versions(self.shards.train)

    def open(self) -> tuple[MGCLIP, list[str]]:
        """The model and sentences on settings without effect. Raises ``InputError`` if the model cannot learn from shards."""
        model, notes = self.model.open()
        check_one_pass(model.settings, model.solved, tasks=len(model.task_sizes))
        return model, notes

    @contextmanager
    def begin(self, *, wait: float) -> Iterator[tuple[MGCLIP, list[str]]]:
        """Lock the folder of the model in the first process, wait up to ``wait`` seconds for another writer, and yield what
        ``open`` returns.
        """
        with self.model.locked(self.open, wait=wait) as (model, notes):
            model.backbone.agree_on_precision()
            yield model, notes

    def learn(self, model: MGCLIP, notes: Sequence[str]) -> LearnReport:
        """Learn the shards, measure, and save the next version. The first process holds the lock of the folder.

        If this is interrupted or fails, the active version stays, and the same command resumes after the last complete shards.
        """
        begun, folder = time.perf_counter(), self.model.folder
        train, tests = ([NamedShard(shard, self.called) for shard in part] for part in self.shards[:2])
        progress, texts = progress_folder(folder, "shards"), dict(self.called.values())
        # The first process asks for all: copies of a file on several machines may differ in their times.
        shards = parallel.gather_items(self.versions if parallel.is_main() else [])
        names = self._digest_of_names()
        versions = {shard.name: repr((*shard[1:], names)) for shard in shards}
        try:
            learned = model.learn_shards(
                train, class_texts=texts, progress=progress, versions=versions, skip_unreadable=self.skip
            )
        except NoNewImage:
            self._finish()
            raise
        found = measure_shards(model, tests, {*learned.new, *learned.grown}, skip=self.skip)
        learned = replace(learned, skipped=(*learned.skipped, *found.skipped))
        notes = [*notes, *_not_measured(found)]
        # Only the first process saves the list.
        earlier = joined(model.class_names, read_held_out(folder)) if parallel.is_main() else {}
        held_out = not_learned(model, earlier)
        if lost := sum(map(len, earlier.values())) - sum(map(len, held_out.values())):
            notes = [*notes, f"no longer held out, because learned now or unreadable: {count(lost, 'image')}"]
        note = self._note(model, learned, found, notes, time.perf_counter() - begun)
        if parallel.is_main():
            check_state(folder, model.saved_as)
        model.save_pretrained(folder, note=note, files={HELD_OUT: as_json(held_out, folder)})
        self._finish()
        return learn_report(model, note, str(folder), may_hold_out=False, tested=bool(tests))

    def _digest_of_names(self) -> str:
        """A digest of the other names of the classes, which decide what is learned from a shard; empty without any."""
        names = sorted((label, name) for label, (name, _) in self.called.items())
        return hashlib.sha256(repr(names).encode()).hexdigest()[:16] if names else ""

    def _finish(self) -> None:
        """Remove the partial sums, which are no longer needed."""
        parallel.wait()
        if parallel.is_main():
            remove_task_checkpoints(self.model.folder)

    def _note(
        self, model: MGCLIP, learned: ShardsResult, found: ShardAccuracies, notes: Sequence[str], seconds: float
    ) -> LearnNote:
        """The note of the new version. ``found`` was measured on test shards."""
        text: TextMeasures = {"gap": None, "by_text": found.branches["text"], "retention": None}
        remarks = [*notes]
        if unused := sorted({*not_among((name for name, _ in self.called.values()), model.class_names)}):
            remarks.append(f"in the table of class names, but not in the shards: {listed(unused)}")
        if learned.known:
            remarks.append(f"left out, because the model has learned the same pixels before: {count(learned.known, 'image')}")
        if learned.repeated:
            remarks.append(
                f"learned again, because other images in the shards have the same pixels: {count(learned.repeated, 'image')}"
            )
        if learned.in_several:
            remarks.append(f"learned in more than one class each: {count(learned.in_several, 'image')}")
        if len(learned.skipped) > LISTED:
            skipped = count(len(learned.skipped), "image or shard", "images or shards")
            remarks.append(f"skipped in all, of which {LISTED} are listed: {skipped}")
        note: LearnNote = {
            "what": what_was_learned(learned.new, learned.grown),
            "origin": self.place,
            "classes": [*learned.grown, *learned.new],
            "images": learned.images,
            "epochs": 0,
            "test_images": found.images,
            "accuracy": found.accuracy,
            "branches": found.branches,
            "leave_one_out": leave_one_out(model),
            "left_out": left_out_branches(model),
            "untuned": text,
            "tuned": text,
            "seconds": round(seconds, 1),
            "precision": model.backbone.image_precision,
        }
        if learned.grown:
            note["grown"] = list(learned.grown)
        if learned.skipped:
            note["skipped"] = [{"image": image, "reason": reason} for image, reason in learned.skipped[:LISTED]]
        if remarks:
            note["notes"] = remarks
        return note


def _not_measured(found: ShardAccuracies) -> Iterator[str]:
    """Sentences about test images that are not measured, or say little."""
    if found.copies:
        of = f"{found.copies:,} of {count(found.branches['images'], 'test image')}"
        yield f"{of} {are(found.copies)} also among the training images, so accuracy there says little"
    if found.unknown:
        images = count(found.unknown.total(), "test image")
        yield f"not measured, because the model does not know their classes ({listed(sorted(found.unknown))}): {images}"


def read_shard_job(place: str, shards: Shards, model: TaughtModel, *, names: str = "", skip_unreadable: bool = False) -> ShardJob:
    """Read the names of the classes in the shards that ``mgclip learn`` teaches a model; the arguments are its options. Raises
    ``InputError`` if a name is wrong.
    """
    called = read_naming(Path(place), names) if names or Path(place).is_dir() else {}
    return ShardJob(place, shards, model, called, skip_unreadable)
