"""``mgclip learn`` with shards, in one process or in several that torchrun has started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mgclip.words import count

if TYPE_CHECKING:
    from mgclip.stream.shards import Shards
    from mgclip.workflows.learn_shards import ShardJob
    from mgclip.workflows.note import LearnReport


def learn_shards(
    place: str, shards: Shards, model: Path, given: Mapping[str, Any], *, dry_run: bool, wait: float, as_json: bool, quiet: bool
) -> LearnReport | None:
    """Learn shards, and return the report in the first process; the arguments are options of ``mgclip learn``."""
    from mgclip.app.display import out, screen
    from mgclip.app.streams import print_json
    from mgclip.clip.parallel import is_main
    from mgclip.workflows.learn_shards import read_shard_job

    job = read_shard_job(place, shards, model, **given)
    quiet = quiet or not is_main()
    plan = {"shards": len(shards.train), "test_shards": len(shards.test)}
    if dry_run and as_json and is_main():
        print_json(plan)
    elif not (quiet or as_json):
        out.print(f"to learn: {count(plan['shards'], 'shard')}; to measure on: {count(plan['test_shards'], 'shard')}")
    if dry_run:
        job.open()
        return None
    try:
        done = _learned(job, wait=wait, quiet=quiet)
    except KeyboardInterrupt:
        if is_main():
            screen.print(
                f"Stopped; {model} has no new version. Run the same command again to resume after the last complete shard."
            )
        raise typer.Exit(1) from None
    return done if is_main() else None


def _learned(job: ShardJob, *, wait: float, quiet: bool) -> LearnReport:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from mgclip.app.display import screen

    columns = SpinnerColumn(), TextColumn("{task.completed:,} images encoded"), TimeElapsedColumn()
    hidden = quiet or not screen.is_terminal
    progress = Progress(*columns, console=screen, disable=hidden, transient=True)
    with job.begin(wait=wait) as (model, notes), progress as bar:
        row = bar.add_task("", total=None)
        model.encoder.on_images = lambda number: bar.update(row, advance=number)
        return job.learn(model, notes)
