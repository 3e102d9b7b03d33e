"""``mgclip learn`` with shards, in one process or in several that torchrun has started."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mgclip.errors import InputError
from mgclip.words import count, listed

if TYPE_CHECKING:
    from mgclip.stream.shards import Shards
    from mgclip.workflows.learn_shards import ShardJob
    from mgclip.workflows.note import LearnReport


def shards_to_learn(place: str, *, label: str, test: str, for_folders: Mapping[str, object]) -> Shards | None:
    """Find the shards at a place.

    Args:
        place: Where to look.
        label: The column, member or key with the class of an image, if it was given.
        test: Where the shards to measure on are, if it was given.
        for_folders: Options that are for folders of images, and what was given for them.

    Returns:
        The shards; None if there are none, as in a folder of images.

    Raises:
        InputError: If an option was given that does not apply, or there are no shards at ``test``.
    """
    from mgclip.stream.shards import Shards, find_shards

    shards = find_shards(place, label=label)
    if shards is None:
        if label:
            raise InputError(f"--label applies to shards only, and {place} contains none: leave --label out.")
        return None
    if unused := [option for option, value in for_folders.items() if value]:
        raise InputError(f"{unused[0]} applies to folders of images only, and {place} contains shards: leave {unused[0]} out.")
    if not test:
        return shards
    found = find_shards(test, label=label)
    if found is None:
        raise InputError(f"There are no shards at {test}: if you learn from shards, give --test shards too.")
    return Shards(shards.train, found.test or found.train, shards.unused)


def learn_shards(job: ShardJob, *, dry_run: bool, wait: float, as_json: bool, quiet: bool) -> None:
    """Learn shards, and print in the first process what has changed; the arguments are options of ``mgclip learn``."""
    from mgclip.app.display import out, screen
    from mgclip.app.learn_output import print_changes, print_skipped
    from mgclip.app.streams import print_json
    from mgclip.clip.parallel import is_main
    from mgclip.saving.store import PROGRESS, active_state
    from mgclip.stream.numbered_shards import missing_shards

    shards, model, quiet = job.shards, job.model.folder, quiet or not is_main()
    plan = {"shards": len(shards.train), "test_shards": len(shards.test), "unused_shards": len(shards.unused)}
    # Who names single shards, or a pattern of them, wants no others.
    missing = missing_shards(shard.name for part in shards for shard in part) if Path(job.place).is_dir() else []
    plan["missing_shards"] = len(missing)
    if dry_run and as_json and is_main():
        print_json(plan)
    elif not (quiet or as_json):
        out.print(f"to learn: {count(plan['shards'], 'shard')}; to measure on: {count(plan['test_shards'], 'shard')}")
        if plan["unused_shards"]:
            out.print(f"left out, with neither train nor test in their names: {count(plan['unused_shards'], 'shard')}")
        if missing:
            out.print(f"missing, by the numbers in the names of the others: {count(len(missing), 'shard')} ({listed(missing)})")
        if unknown := sum(not version.is_known for version in job.versions):
            out.print(
                f"if this command is interrupted and resumed, it cannot detect changes in {count(unknown, 'shard')}, of which "
                "only the name or the size is known"
            )
    if dry_run:
        job.open()  # reports what would stop the command
        return
    before = active_state(model)
    try:
        done = _learned(job, wait=wait, quiet=quiet)
    except KeyboardInterrupt:
        if is_main() and active_state(model) != before:
            screen.print(f"Stopped after the new version of {model} was saved.")
        elif is_main():
            resumed = " to resume after the last complete shard" if any(model.glob(f"{PROGRESS}*/*")) else ""
            screen.print(f"Stopped; {model} has no new version. Run the same command again{resumed}.")
        raise typer.Exit(1) from None
    if is_main():
        if not (quiet or as_json):
            print_skipped(done.get("skipped", ()))
            for note in done.get("notes", ()):
                out.print(note)
        print_changes(done, as_json=as_json, quiet=quiet)


def _learned(job: ShardJob, *, wait: float, quiet: bool) -> LearnReport:
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    from mgclip.app.display import progress_bar
    from mgclip.app.signals import interrupted_by_sigterm
    from mgclip.clip.parallel import is_distributed

    columns = SpinnerColumn(), TextColumn("{task.completed:,} images encoded"), TimeElapsedColumn()
    progress = progress_bar(*columns, quiet=quiet)
    # A process that waits for others cannot handle a signal, so that torchrun would have to wait until it kills it.
    stops = nullcontext() if is_distributed() else interrupted_by_sigterm()
    with stops, job.begin(wait=wait) as (model, notes), progress as bar:
        row = bar.add_task("", total=None)
        model.encoder.on_images = lambda number: bar.update(row, advance=number)
        return job.learn(model, notes)
