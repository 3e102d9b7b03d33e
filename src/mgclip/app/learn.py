"""``mgclip learn``: add the classes and images of a folder, or of shards, to a model, as its next version."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgclip.app.options import (
    CHECKPOINT_EVERY,
    Architecture,
    Changes,
    CheckpointEvery,
    Json,
    KeepFeatures,
    Names,
    NewBase,
    OnBadImage,
    Quiet,
    with_architecture,
)
from mgclip.workflows.split import HOLD_OUT

if TYPE_CHECKING:
    from mgclip.workflows.alike_names import AlikeNames
    from mgclip.workflows.learn_job import LearnJob
    from mgclip.workflows.note import LearnReport
    from mgclip.workflows.plan import Plan

Retention = Annotated[
    Path | None, typer.Option(help="Folder of classes never trained on, to measure the loss of zero-shot accuracy.")
]
TestFolder = Annotated[
    str, typer.Option(help="Folder of class folders to measure on, instead of held-out images; with shards: other shards.")
]
MergeNames = Annotated[
    bool,
    typer.Option(
        "--merge-names",
        help="Merge classes whose names differ only in case, spaces, hyphens, underscores or the form of a letter.",
    ),
]
Photos = Annotated[Path | None, typer.Option(help="Folder to which the held-out images of earlier classes have moved.")]
Source = Annotated[
    str,
    typer.Argument(
        help="Folder with one sub-folder of images per class, or with train/ and test/ folders of that kind. Or shards that are "
        "read once: Parquet or tar files, a folder, a pattern such as 'data/{000..127}.tar', or an address."
    ),
]
Label = Annotated[
    str, typer.Option(help="Shards: the column, member or JSON key with the class of an image, if it is not found automatically.")
]
NewMethod = Annotated[str, typer.Option(help="Method of a new model, such as mg-clip; default: mg-clip-analytic.")]
Like = Annotated[
    Path | None,
    typer.Option(help="A saved model whose CLIP and settings a new model takes, so that both can be merged."),
]
Prompt = Annotated[
    list[str] | None,
    typer.Option(help="Prompt template of a new model; {} stands for the class name. Repeat it to average several."),
]
HoldOut = Annotated[
    float,
    typer.Option(min=0, max=0.9, help="Share of the images of each class that are held out to measure on."),
]


def learn_command(
    folder: Source,
    model: Annotated[Path, typer.Option(help="Folder of the model; created by the first `learn`.")],
    changes: Changes = None,
    base: NewBase = "",
    arch: Architecture = "",
    method: NewMethod = "",
    like: Like = None,
    names: Names = "",
    label: Label = "",
    prompt: Prompt = None,
    test: TestFolder = "",
    hold_out: HoldOut = HOLD_OUT,
    merge_names: MergeNames = False,
    photos: Photos = None,
    retention: Retention = None,
    on_bad_image: OnBadImage = "error",
    checkpoint_every: CheckpointEvery = CHECKPOINT_EVERY,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and exit.")] = False,
    keep_features: KeepFeatures = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait while another process writes the model.")] = 0.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach a model the classes in a folder. Prints a plan before training and a summary of changes afterwards."""
    from mgclip.app.display import require_single_process
    from mgclip.app.learn_shards import learn_shards, shards_to_learn
    from mgclip.saving.kept_features import KeptFeatures
    from mgclip.workflows.learn_job import read_job
    from mgclip.workflows.learn_shards import read_shard_job
    from mgclip.workflows.taught_model import read_taught_model

    base, skip = with_architecture(base, arch), on_bad_image == "skip"
    for_folders = {"--merge-names": merge_names, "--photos": photos, "--retention": retention, "--keep-features": keep_features}
    for_folders["--checkpoint-every"] = checkpoint_every != CHECKPOINT_EVERY
    for_folders["--hold-out"] = hold_out not in (0, HOLD_OUT)  # of shards nothing is held out, which the default need not say
    shards = shards_to_learn(folder, label=label, test=test, for_folders=for_folders)
    if shards is None:
        require_single_process("learn")
    taught = read_taught_model(model, changes=changes or (), prompt=prompt or (), base=base, method=method, like=like)
    if shards is not None:
        of_shards = read_shard_job(folder, shards, taught, names=names, skip_unreadable=skip)
        learn_shards(of_shards, dry_run=dry_run, wait=wait, as_json=as_json, quiet=quiet)
        return
    job = read_job(
        Path(folder),
        taught,
        names=names,
        test=Path(test) if test else None,
        hold_out=hold_out,
        retention=retention,
        skip_unreadable=skip,
        merge_names=merge_names,
        photos=photos,
        kept=None if keep_features is None else KeptFeatures(keep_features),
        ask=_ask_to_merge,
    )
    _learn_folder(job, dry_run=dry_run, wait=wait, checkpoint_every=checkpoint_every, as_json=as_json, quiet=quiet)


def _learn_folder(job: LearnJob, *, dry_run: bool, wait: float, checkpoint_every: int, as_json: bool, quiet: bool) -> None:
    """Print the plan, or learn and print what has changed."""
    from mgclip.app.learn_output import print_changes, print_plan

    if dry_run:
        print_plan(_planned(job, quiet=quiet), job.skipped, as_json=as_json, quiet=quiet)
    else:
        done = _learned(job, wait=wait, checkpoint_every=checkpoint_every, quiet=quiet, show_plan=not (quiet or as_json))
        print_changes(done, as_json=as_json, quiet=quiet)


def _planned(job: LearnJob, *, quiet: bool) -> Plan:
    from mgclip.app.display import opening_images
    from mgclip.method.alike_texts import warn_of_alike_texts

    with opening_images(quiet=quiet) as opened:
        learner, plan = job.plan(opened)
    text_of = dict(zip(plan.train, plan.texts, strict=True))
    texts = [text_of[name] for name in plan.new]
    warn_of_alike_texts(learner.backbone, learner.settings, learner.class_texts, texts)
    return plan


def _learned(job: LearnJob, *, wait: float, checkpoint_every: int, quiet: bool, show_plan: bool) -> LearnReport:
    from mgclip.app.display import opening_images, screen
    from mgclip.app.learn_output import print_plan
    from mgclip.app.learn_progress import LearnProgress
    from mgclip.app.signals import stop_on_signal
    from mgclip.saving.store import active_state

    trains, before = False, active_state(job.model.folder)
    try:
        with ExitStack() as opening:
            opened = opening.enter_context(opening_images(quiet=quiet))
            with job.begin(wait=wait, on_images=opened) as (learner, plan):
                opening.close()
                trains = plan.cost.trains
                print_plan(plan, job.skipped, as_json=False, quiet=not show_plan)
                with LearnProgress(plan, quiet=quiet) as progress, stop_on_signal() as stop:

                    def on_images(number: int) -> None:
                        progress.on_images(number)
                        if stop():  # features are not saved, so there is nothing to finish first
                            raise KeyboardInterrupt

                    learner.encoder.on_images = on_images
                    return job.learn(learner, plan, checkpoint_every=checkpoint_every, on_step=progress.on_step, stop=stop)
    except KeyboardInterrupt:
        screen.print(_after_stopping(job.model.folder, before, trains=trains))
        raise typer.Exit(1) from None


def _after_stopping(model: Path, before: str, *, trains: bool) -> str:
    """Return a sentence on what a stopped command has left. ``before``: the active state when it began; ``trains``: whether it
    trains, because otherwise there is nothing to resume.
    """
    from mgclip.saving.store import PROGRESS, active_state, is_saved

    if active_state(model) != before:
        return f"Stopped after the new version of {model} was saved."
    left = f"{model} is unchanged" if is_saved(model) else "nothing was saved"
    resumed = " to resume from the last checkpoint" if trains and any(model.glob(f"{PROGRESS}*")) else ""
    return f"Stopped; {left}. Run the same command again{resumed}."


def _ask_to_merge(alike: AlikeNames) -> bool:
    """Return whether a person at the terminal wants to merge classes with names that are alike; false without a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    typer.echo(alike, err=True)
    return typer.confirm("Learn them as one class?", err=True)
