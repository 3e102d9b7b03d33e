"""Learn one task from shards, of whose images only sums are kept (docs/method.md 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mgclip.clip import parallel
from mgclip.clip.encoder import Encoder
from mgclip.errors import InputError
from mgclip.method.alike_texts import warn_of_alike_names, warn_of_alike_texts
from mgclip.method.analytic import solved_head
from mgclip.method.analytic.solved_head import SolvedHead
from mgclip.method.analytic.solving import logits_over, new_head, trains_adapters
from mgclip.method.labels import texts_by_name
from mgclip.method.model_files import ModelState
from mgclip.method.settings import Settings
from mgclip.method.shards.one_pass import Reading, features_of, sum_shards
from mgclip.method.shards.partial_sums import ShardSums
from mgclip.method.shards.reader import ImageShard, check_shards
from mgclip.names import check_distinguishable, indices_of, not_among
from mgclip.words import count, were


@dataclass(frozen=True)
class ShardsResult:
    """What learning shards did.

    Attributes:
        task: The index of the task.
        new: The classes that are new.
        grown: The known classes that have more images now.
        images: The number of images learned.
        skipped: What could not be read, an image or the rest of a shard, and why.
        known: The number of images left out because the model had learned them before.
        repeated: The number of images with the pixels of another one in the shards. They were learned too.
        in_several: The number of images that were learned in several classes.
    """

    task: int
    new: tuple[str, ...]
    grown: tuple[str, ...]
    images: int
    skipped: tuple[tuple[str, str], ...] = ()
    known: int = 0
    repeated: int = 0
    in_several: int = 0


class NoNewImage(InputError):
    """The model has learned all images of the shards before."""


def check_new_image(learned: ShardSums) -> None:
    """Check that there is something to learn.

    Args:
        learned: The sums over the shards, of all processes.

    Raises:
        InputError: If no image could be read; ``NoNewImage`` if all images were learned before.
    """
    if len(learned.images):
        return
    if learned.skipped and not learned.known:
        what, why = learned.skipped[0]
        raise InputError(f"No image of the shards can be read, such as {what} ({why}): replace the shards.")
    known = f"{count(learned.known, 'image')} {were(learned.known)}"
    raise NoNewImage(f"There is no new image in the shards: {known} learned before.")


def check_one_pass(settings: Settings, head: SolvedHead | None, *, tasks: int) -> None:
    """Check that a model can learn from one pass over the images.

    Args:
        settings: The settings of the model.
        head: Its solved head; None for a new model.
        tasks: The number of tasks that it has learned.

    Raises:
        InputError: If it needs several passes, because it trains a head or adapters.
    """
    if settings.compensation != "analytic":
        raise InputError(
            "A trained head needs each image several times, and shards are read once: start a new model with the default method, "
            "or unpack the shards into one folder of images for each class."
        )
    if trains_adapters(settings, head, tasks=tasks) and settings.epochs != 0:
        why = f"With adapt: {settings.adapt} adapters are trained, which needs each image several times, and shards are read once"
    elif head is not None and (head.bank is not None or head.frozen is not None):
        why = (
            "A model whose adapters were trained, or one like it, keeps features of its images, and of shards it would keep sums"
        )
    else:
        return
    raise InputError(f"{why}: start a new model with adapt=never, or unpack the shards into one folder of images for each class.")


def learn_from_shards(
    learned: ModelState, encoder: Encoder, shards: Sequence[ImageShard], class_texts: Mapping[str, str], reading: Reading
) -> tuple[ModelState, ShardsResult]:
    """Learn one task, as ``MGCLIP.learn_shards`` does. Returns what the model has learned then, and what was done."""
    settings, known = learned.settings, learned.class_names
    given = {str(name): text for name, text in class_texts.items()}
    texts_by_name(given, (), given)  # texts that cannot be used are refused before the shards are read
    check_one_pass(settings, learned.solved, tasks=len(learned.task_sizes))
    check_shards(shards, [reading.version(shard) for shard in shards])
    own = sum_shards(shards, learned.solved, known, encoder, settings, reading)
    found = sorted({*parallel.gather_items(own.names)})
    sums = own.all_processes(found)
    check_new_image(sums)
    new = not_among(found, known)
    check_distinguishable(new, known)
    warn_of_alike_names(known, new)
    names = *known, *new
    new_texts = texts_by_name(given, tuple(new), (*names, *given))
    warn_of_alike_texts(encoder.backbone, settings, learned.class_texts, new_texts)
    texts = *learned.class_texts, *new_texts
    places = [place for place in indices_of(found, names) if place is not None]
    head = learned.solved
    if head is None:
        head = new_head(features_of(sums, encoder, settings), encoder, settings)
    added = replace(head.emptied(), sums=sums.sums, learned=sums.images, sample=sums.sample)
    solved = solved_head.merge(head, added, places, logits_over(encoder, settings)(texts))
    repeated, in_several = sums.copies()
    result = ShardsResult(
        task=len(learned.task_sizes),
        new=tuple(new),
        grown=tuple(known[place] for place in places if place < len(known)),
        images=len(sums.images),
        skipped=tuple(sums.skipped),
        known=sums.known,
        repeated=repeated,
        in_several=in_several,
    )
    sizes = *learned.task_sizes, len(new)
    return replace(learned, task_sizes=sizes, class_names=names, class_texts=texts, solved=solved), result
