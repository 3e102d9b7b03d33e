"""Open a run: load its data and its CLIP, check everything that can be wrong, then create or check its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from mgclip.clip import parallel
from mgclip.clip.backbone import Backbone
from mgclip.clip.load import load_backbone
from mgclip.clip.pixels import KEEP_BYTES
from mgclip.errors import InputError
from mgclip.experiment import run_folder
from mgclip.experiment.alike_classes import warn_of_alike_classes
from mgclip.experiment.loggers import check_loggers
from mgclip.experiment.recipe import Recipe
from mgclip.experiment.retention import RetentionSet, load_retention_sets, prepare_retention_sets
from mgclip.experiment.schemas import SkippedImage
from mgclip.home import in_home
from mgclip.method.baselines.make import Learner, classifier_of, make_learner
from mgclip.method.methods import METHODS, method_settings
from mgclip.method.replay import check_room
from mgclip.saving.kept_features import KeptFeatures
from mgclip.saving.lock import only_writer
from mgclip.saving.writable import check_writable
from mgclip.stream.data import Dataset, few_of_each
from mgclip.stream.datasets import ICON_SETS, TEST_PER_CLASS, TRAIN_PER_CLASS, dataset_entry, has_files, load_dataset
from mgclip.stream.domains import DomainData, join_datasets, names_across
from mgclip.stream.fingerprint import fingerprint
from mgclip.stream.orders import class_order
from mgclip.stream.tasks import Task, make_tasks, task_sizes, unique_names
from mgclip.stream.uneven import blurred, long_tailed, shuffled_ranks
from mgclip.stream.unreadable import (
    NO_TASK,
    OnImages,
    Part,
    Skipped,
    drop_positions,
    find_unreadable,
    stream_parts,
    without_skipped,
)
from mgclip.words import command_line


def build_stream(recipe: Recipe) -> list[Task]:
    """The tasks of a recipe."""
    if recipe.datasets:
        return _stream_of_several(recipe)
    dataset = _limited_data(recipe, DomainData(data=recipe.data, data_path=recipe.data_path, filter=recipe.filter))
    names = unique_names(dataset.class_names)
    order = class_order(recipe.class_order, dataset=dataset.name, names=names, seed=recipe.seed)
    if recipe.imbalance > 1:
        ranked = order if recipe.imbalance_order == "ordered" else shuffled_ranks(len(names), recipe.seed)
        dataset = long_tailed(dataset, recipe.imbalance, ranked, recipe.seed)
    sizes = task_sizes(len(names), initial=recipe.initial_classes, increment=recipe.classes_per_task)
    # Blurry images are spread over all later tasks first, so that the first tasks are the same if the stream is cut.
    tasks = make_tasks(dataset, order, sizes if recipe.blurry else sizes[: recipe.tasks])
    return blurred(tasks, recipe.blurry, recipe.seed)[: recipe.tasks]


def _stream_of_several(recipe: Recipe) -> list[Task]:
    """The tasks of a recipe that lists several data sets, one data set after the other."""
    datasets: dict[str, Dataset] = {}
    order: list[int] = []
    sizes: list[int] = []
    texts: list[str] = []
    sources: list[str] = []
    for each in recipe.datasets:
        if recipe.tasks is not None and len(sizes) >= recipe.tasks:
            break
        dataset = datasets[each.name] = _limited_data(recipe, _at_its_path(each, recipe.data_path))
        names = unique_names(dataset.class_names)
        positions = class_order(recipe.class_order, dataset=each.data, names=names, seed=recipe.seed)
        order += [len(sources) + position for position in positions]
        sizes += task_sizes(len(names), initial=0, increment=each.classes_per_task or len(names))
        texts += [each.text.replace("{}", name) for name in dataset.class_names]
        sources += [each.name] * len(names)
    joined = replace(join_datasets(datasets), class_names=tuple(texts))
    return make_tasks(joined, order, sizes[: recipe.tasks], names=names_across(datasets), sources=sources)


def _at_its_path(each: DomainData, root: str | None) -> DomainData:
    """A data set with its path: by default, the folder of its name in ``root``. Without one, it comes from the hub if it can."""
    if root is None or each.data_path is not None or each.data in ICON_SETS:
        return each
    own = Path(in_home(root)) / each.name
    by_default = dataset_entry(each.data)
    if not has_files(by_default) or (not own.exists() and (by_default.hub is not None or by_default.make is not None)):
        return each
    return each.model_copy(update={"data_path": str(own)})


def _limited_data(recipe: Recipe, source: DomainData) -> Dataset:
    """A data set of a recipe with the images per class that it asks for: the first of an order that the seed decides."""
    name, path, train, test = source.data, source.data_path, recipe.train_per_class, recipe.test_per_class
    if name in ICON_SETS:
        drawn, tested = train or TRAIN_PER_CLASS, test or TEST_PER_CLASS
        dataset = load_dataset(name, path=path, train_per_class=drawn, test_per_class=tested, filter=source.filter)
        train = test = None
    else:
        dataset = load_dataset(name, path=path, filter=source.filter)
    limits = [limit for limit in (train, source.images_per_class or recipe.images_per_class) if limit is not None]
    if limits:
        dataset = replace(dataset, train=few_of_each(dataset.train, min(limits), recipe.seed))
    if test is not None:
        dataset = replace(dataset, test=few_of_each(dataset.test, test, 0))  # the same ones for every seed
    return dataset


@dataclass(frozen=True)
class OpenRun:
    """A run that is about to start or resume. Everything that could be wrong has been checked.

    ``retention_sets``: data sets to measure retention on; ``skipped``: images that cannot be read, which ``stream`` does not
    contain; ``kept``: where features of images are kept, if anywhere.
    """

    recipe: Recipe
    folder: Path
    stream: Sequence[Task]
    backbone: Backbone
    retention_sets: Mapping[str, RetentionSet]
    skipped: Sequence[Skipped] = ()
    kept: KeptFeatures | None = None

    def learner(self, method: str, saved: Path | None = None) -> Learner:
        """A learner of a method of this run, new or loaded from ``saved``."""
        learner = make_learner(method, self.backbone, self.recipe.settings(), self.recipe.own, saved)
        learner.backbone.agree_on_precision()
        learner.encoder.kept = self.kept
        return learner

    def skipped_in(self, method: str, task: Task) -> list[SkippedImage]:
        """The images that were skipped in a task of a method, for its record."""
        joint = METHODS[method].joint
        own = [each for each in self.skipped if each.task == task.index or (joint and each.task != NO_TASK)]
        return [{"image": each.image, "reason": each.reason} for each in own]


def only_run(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of the folder of a run in the first process. Raises ``InputError`` if another command runs in it."""
    if not parallel.is_main():
        return nullcontext()
    return only_writer(folder, advice="try again when it is done, or start a new run with another --out")


def _find_skipped(parts: Sequence[Part], on_images: OnImages) -> list[Skipped]:
    """The images that cannot be read. Each process opens its share of them, and all skip the same ones."""
    found = parallel.gather_items(find_unreadable(parts, on_images, share=parallel.rank_and_world_size()))
    order = {(task, part): number for number, (task, part, _) in enumerate(parts)}
    return sorted(found, key=lambda each: (order[each.task, each.part], each.position))


def _readable(sets: Mapping[str, Dataset], skipped: Sequence[Skipped]) -> dict[str, Dataset]:
    """Retention sets without the skipped images. Raises ``InputError`` if no image of one is left."""
    left = {}
    for name, data in sets.items():
        gone = {each.position for each in skipped if (each.task, each.part) == (NO_TASK, name)}
        left[name] = replace(data, test=drop_positions(data.test, gone))
        if len(left[name].test.labels) == 0:
            raise InputError(f"The data set {name} has no test images to measure retention on: leave it out of retention.")
    return left


def open_run(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    on_images: OnImages = lambda done, total: None,
    keep_features: Path | None = None,
) -> OpenRun:
    """Load data and CLIP. Then create the folder of the run, or check that the existing one belongs to the recipe.

    Args:
        recipe: The recipe.
        folder: The folder of the run.
        resume: Whether to resume the run in it.
        on_images: Called while images are opened to find unreadable ones.
        keep_features: A folder for features of images under the pre-trained CLIP, which are then computed once.

    Raises:
        InputError: If data or CLIP cannot be loaded, the folder is used, or its run has another recipe. Nothing was written.

    Warns:
        AlikeTexts: If the CLIP cannot tell apart the texts of two classes, and the user can change that.
    """
    check_loggers(recipe.log_with)
    kept = None if keep_features is None else KeptFeatures(keep_features)
    _check_folder(recipe, folder, resume=resume)
    stream = build_stream(recipe)
    digest = fingerprint(stream)
    if resume:
        run_folder.check_data(folder, digest)
    skip = recipe.on_bad_image == "skip"
    sets = load_retention_sets(recipe.retention, test_per_class=recipe.test_per_class or TEST_PER_CLASS)
    skipped: list[Skipped] = []
    if skip and resume:
        skipped = run_folder.read_skipped(folder)
    elif skip:
        parts = [*stream_parts(stream), *((NO_TASK, name, data.test) for name, data in sets.items())]
        skipped = _find_skipped(parts, on_images)
    stream, sets = without_skipped(stream, skipped), _readable(sets, skipped)
    _check_methods(recipe, classes=sum(len(task.names) for task in stream))
    opened = OpenRun(recipe, folder, stream, load_backbone(recipe.clip), {}, skipped, kept)
    test_bytes = sum(len(task.test.labels) for task in stream) * 3 * opened.backbone.image_size**2
    encoder = opened.learner("mg-clip").encoder  # also checks the settings of the adapters
    keep_bytes = max(0, KEEP_BYTES - test_bytes)  # the images of the stream are used more often
    opened = replace(opened, retention_sets=prepare_retention_sets(sets, encoder, keep_bytes=keep_bytes))
    if parallel.is_main():
        warn_of_alike_classes(recipe, stream, opened.backbone)
    parallel.wait()  # until every process has checked the folder
    if parallel.is_main():
        with only_run(folder):
            _check_folder(recipe, folder, resume=resume)  # another command may have begun a run in it in the meantime
            if resume:
                run_folder.check_code(folder, recipe.methods, resumes=True)
            else:
                run_folder.begin(folder, recipe, digest, skipped)
    parallel.wait()
    return opened


def _check_methods(recipe: Recipe, classes: int) -> None:
    """Raise ``InputError`` if a method has no classifier, or its memory has no room for an image of each class."""
    for method in recipe.methods:
        if METHODS[method].has_classifier:
            classifier_of(method)  # raises an error for what cannot be one
        if memory := method_settings(method, recipe.settings()).memory:
            check_room(memory, classes)


def _check_folder(recipe: Recipe, folder: Path, *, resume: bool) -> None:
    if resume:
        run_folder.check_same(folder, recipe, "resume with the same settings, or start a new run")
        run_folder.check_own(folder, recipe.methods)
    elif not run_folder.is_unused(folder):
        is_run = (folder / run_folder.RECIPE).is_file()
        advice = f"resume its run with --resume {command_line([str(folder)])}, or " if is_run else ""
        raise InputError(f"{folder} is already used: {advice}give another --out.")
    else:
        check_writable(folder)
