"""Plan a training run: which images are learned and which are measured on, and how long it will take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mgclip.errors import InputError
from mgclip.method.learner import MGCLIP
from mgclip.method.replay import check_room
from mgclip.method.task import make_task
from mgclip.names import canonical, not_among
from mgclip.stream.folder import misspelling
from mgclip.words import listed
from mgclip.workflows.alike_names import find_slips
from mgclip.workflows.copies import find_copies, without_copies
from mgclip.workflows.cost import Amounts, Cost, estimate
from mgclip.workflows.growth import grows_classes, leave_out_known_images
from mgclip.workflows.held_again import measured_once
from mgclip.workflows.held_out import HeldOut, most_measured
from mgclip.workflows.measure import flatten
from mgclip.workflows.source import Source
from mgclip.workflows.split import hold_out


@dataclass(frozen=True)
class Plan:
    """What ``learn_folder`` will do.

    Attributes:
        train: Training images by class.
        tests: Images to measure on by class, held out or given.
        texts: What prompts call each class.
        known: Number of classes the model knows already.
        cost: The expected time and memory.
        notes: What is not used or not measured, and duplicates, one sentence each.
        grown: The classes of ``train`` that the model knows already.
        duplicates: Each image that is also in another class or nearly the same as a training image, and that other image.
        folder: The folder to learn from.
        held_out: Images of known classes that were held out before, by class; None to read those of the model.
    """

    train: dict[str, list[Path]]
    tests: dict[str, list[Path]]
    texts: tuple[str, ...]
    known: int
    cost: Cost
    notes: tuple[str, ...] = ()
    grown: tuple[str, ...] = ()
    duplicates: tuple[tuple[Path, Path], ...] = ()
    folder: Path = Path()
    held_out: HeldOut | None = None

    @property
    def new(self) -> list[str]:
        """The classes that are new."""
        grown = set(self.grown)
        return [name for name in self.train if name not in grown]

    @property
    def images(self) -> int:
        """Number of training images."""
        return sum(map(len, self.train.values()))

    @property
    def test_images(self) -> int:
        """Number of images to measure on."""
        return sum(map(len, self.tests.values()))


def make_plan(
    model: MGCLIP,
    source: Source,
    *,
    share: float,
    seed: int,
    held_out: HeldOut | None = None,
    retention: int = 0,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Plan:
    """Choose the images to train and to measure on, and check that all can be learned, before anything is written.

    Args:
        model: The model that will learn.
        source: The folder to learn from.
        share: Share of the images of each class to hold out, if the folder has no test part.
        seed: Seed of the choice.
        held_out: Images of known classes that are held out already, by class. They are never trained on.
        retention: Number of images of classes never trained on, which are measured too.
        on_images: Called while images are opened to find duplicates, with the number opened so far and the total.

    Raises:
        InputError: If something cannot be learned, such as a known class if the head is a trained one; if a test folder is
            probably misspelled; or if an image does not exist or, among those timed, is unreadable.
    """
    _check_exist(flatten(source.train)[0])
    earlier, again = held_out or {}, frozenset[Path]()
    source, copies = without_copies(source)
    source, left_out, learned = leave_out_known_images(model, source, earlier)
    if source.tests and earlier:
        again, earlier, about_held = measured_once(source.tests, earlier, model.class_names, source.train)
        left_out = [*left_out, *about_held]
    if source.tests is None:
        train, tests = hold_out(source.train, share=share, seed=seed, never=learned)
        missing = _not_held_out(train, tests, model.class_names)
    else:
        train, (tests, missing) = source.train, _match_tests(model, source.train, source.tests, again)
    files, labels = flatten(train)
    _check_exist(flatten(tests)[0])
    if source.tests and not tests:
        raise InputError(
            "The test folder has none of the classes to learn: its folders must have the same names as the training folders."
        )
    tests = {name: left for name, own in tests.items() if (left := [file for file in own if file not in again])}
    texts, known, grows = tuple(source.texts.get(name, name) for name in train), model.class_names, grows_classes(model)
    pixels = model.encoder.pixels(files)
    make_task(pixels, labels, list(train), index=0, known=known, class_texts=texts, grows=grows)  # refuses what cannot be learned
    if model.settings.memory:
        check_room(model.settings.memory, len(known) + len(train))
    old = sum(min(len(own), most_measured(earlier)) for own in earlier.values())
    cost = estimate(model, files, texts, Amounts(len(files), len(train), sum(map(len, tests.values())), old, retention))
    duplicates, about = find_copies(train, tests, on_images)
    of_model = set(known)
    grown = tuple(name for name in train if name in of_model)
    spelling = _spelling([name for name in train if name not in of_model], known)
    notes = tuple(note for note in (*source.notes, *spelling, copies, *left_out, *missing, *about) if note)
    return Plan(train, tests, texts, len(known), cost, notes, grown, duplicates, source.folder, held_out and earlier)


def _check_exist(files: Iterable[Path]) -> None:
    if gone := [file for file in files if not file.exists()]:
        raise InputError(f"The image {gone[0]} does not exist, or is a broken link: repair or remove it.")


def _not_held_out(train: Iterable[str], tests: Mapping[str, object], known: Sequence[str]) -> tuple[str, ...]:
    """A note on the new classes that have too few images to hold one out, if images of other classes are held out."""
    missing = not_among((name for name in train if name not in tests), known)
    return (f"new classes without test images, so not measured: {listed(missing)}",) if missing and tests else ()


def _spelling(new: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """A note on new classes that may be misspelled names of other classes."""
    pairs = [f"{name!r} and {other!r}" for name, other in find_slips(new, known)]
    return (f"names that are almost the same, so check their spelling: {listed(pairs)}",) if pairs else ()


def _match_tests(
    model: MGCLIP, train: Mapping[str, Sequence[Path]], given: Mapping[str, list[Path]], again: frozenset[Path]
) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """The test images of the classes to learn, under the names of these classes, and notes on what is not measured. Those in
    ``again`` are held out already, and measured in any case.

    Raises ``InputError`` for a test folder that is probably a misspelling of a class without test images.
    """
    files_of = {canonical(name): files for name, files in given.items()}
    tests = {name: files_of[canonical(name)] for name in train if files_of.get(canonical(name))}
    missing = [name for name in train if name not in tests]
    extra = not_among(given, train)
    unknown = not_among(extra, model.class_names)
    for name in missing:
        if (near := misspelling(name, unknown)) is not None:
            raise InputError(
                f"The class {name!r} has no test image, and the test folder {near!r} is not a class to learn: "
                "give both folders the same name, or remove the test folder."
            )
    notes = []
    if missing and tests:
        notes.append(f"new classes without test images, so not measured: {', '.join(missing)}")
    if (unused := [name for name in extra if not again.issuperset(given[name])]) and tests:
        notes.append(f"test folders that are not classes to learn, and not used: {', '.join(unused)}")
    return tests, tuple(notes)
