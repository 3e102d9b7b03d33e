"""``mgclip learn``: add the classes and images of a folder to a model, as its next version."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mgclip.app.options import (
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
from mgclip.errors import InputError
from mgclip.words import count, duration

if TYPE_CHECKING:
    from mgclip.experiment.schemas import SkippedImage
    from mgclip.stream.shards import Shards
    from mgclip.workflows.alike_names import AlikeNames
    from mgclip.workflows.branches import BranchAccuracies
    from mgclip.workflows.learn_job import LearnJob
    from mgclip.workflows.note import LearnReport
    from mgclip.workflows.plan import Plan

NAMED = 10
"""Classes of the plan that are named."""

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
    str, typer.Option(help="Shards: the column, member or JSON key with the class of an image, if it is not found by itself.")
]
NewMethod = Annotated[str, typer.Option(help="Method of a new model, such as mg-clip; default: mg-clip-analytic.")]
Like = Annotated[
    Path | None,
    typer.Option(help="A saved model whose CLIP and settings a new model takes, so that both can be merged."),
]
Prompt = Annotated[
    list[str] | None,
    typer.Option(help="Prompt template of a new model; {} stands for the class name. Give it several times to average several."),
]
HoldOut = Annotated[
    float,
    typer.Option(min=0, max=0.9, help="Share of each class's images that are measured on instead of trained on."),
]


def learn_command(
    folder: Source,
    model: Annotated[Path, typer.Option(help="Folder of the model; created by the first learn.")],
    changes: Changes = None,
    base: NewBase = "",
    arch: Architecture = "",
    method: NewMethod = "",
    like: Like = None,
    names: Names = "",
    label: Label = "",
    prompt: Prompt = None,
    test: TestFolder = "",
    hold_out: HoldOut = 0.2,
    merge_names: MergeNames = False,
    photos: Photos = None,
    retention: Retention = None,
    on_bad_image: OnBadImage = "error",
    checkpoint_every: CheckpointEvery = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and exit.")] = False,
    keep_features: KeepFeatures = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait while another process writes the model.")] = 0.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach a model the classes in a folder. Prints a plan before training and a summary of changes afterwards."""
    from mgclip.app.display import require_single_process
    from mgclip.app.learn_shards import learn_shards
    from mgclip.app.streams import print_json
    from mgclip.saving.kept_features import KeptFeatures
    from mgclip.stream.shards import find_shards
    from mgclip.workflows.learn_job import read_job

    given: dict[str, Any] = {
        "changes": changes or (),
        "prompt": prompt or (),
        "base": with_architecture(base, arch),
        "method": method,
        "like": like,
        "names": names,
        "skip_unreadable": on_bad_image == "skip",
    }
    if shards := find_shards(folder, label=label):
        _check_for_shards(
            folder, {"--merge-names": merge_names, "--photos": photos, "--retention": retention, "--keep-features": keep_features}
        )
        shards = _with_tests(shards, test, label) if test else shards
        learned = learn_shards(folder, shards, model, given, dry_run=dry_run, wait=wait, as_json=as_json, quiet=quiet)
        if learned is not None and (as_json or not quiet):
            (print_json if as_json else _print_changes)(learned)
        return
    if label:
        raise InputError(f"--label is for shards, and {folder} has none: leave it out.")
    require_single_process("learn")
    kept = None if keep_features is None else KeptFeatures(keep_features)
    job = read_job(
        Path(folder),
        model,
        **given,
        test=Path(test) if test else None,
        hold_out=hold_out,
        retention=retention,
        merge_names=merge_names,
        photos=photos,
        kept=kept,
        ask=_ask_to_merge,
    )
    if dry_run:
        _print_plan(_planned(job, quiet=quiet), job.skipped, as_json=as_json, quiet=quiet)
        return
    done = _learned(job, wait=wait, checkpoint_every=checkpoint_every, quiet=quiet, show_plan=not (quiet or as_json))
    if as_json:
        print_json(done)
    elif not quiet:
        _print_changes(done)


def _check_for_shards(place: str, given: Mapping[str, object]) -> None:
    """Check the options that are given for shards. Raises ``InputError`` if one of them is for folders of images."""
    if unused := [option for option, value in given.items() if value]:
        raise InputError(f"{place} contains shards, and {unused[0]} is for folders of images: leave it out.")


def _with_tests(shards: Shards, test: str, label: str) -> Shards:
    """Other shards to measure on. Raises ``InputError`` if there are none at ``test``."""
    from mgclip.stream.shards import Shards, find_shards

    found = find_shards(test, label=label)
    if found is None:
        raise InputError(f"There are no shards at {test}: with shards to learn from, --test takes shards too.")
    return Shards(shards.train, [*found.train, *found.test])


def _planned(job: LearnJob, *, quiet: bool) -> Plan:
    from mgclip.app.display import opening_images
    from mgclip.method.alike_texts import warn_of_alike_texts

    with opening_images(quiet=quiet) as opened:
        learner, plan = job.plan(opened)
    texts = [text for name, text in zip(plan.train, plan.texts, strict=True) if name in plan.new]
    warn_of_alike_texts(learner.backbone, learner.settings, learner.class_texts, texts)
    return plan


def _learned(job: LearnJob, *, wait: float, checkpoint_every: int, quiet: bool, show_plan: bool) -> LearnReport:
    from mgclip.app.display import opening_images, screen
    from mgclip.app.learn_progress import LearnProgress
    from mgclip.app.signals import stop_on_signal

    trains = False
    try:
        with ExitStack() as opening:
            opened = opening.enter_context(opening_images(quiet=quiet))
            with job.begin(wait=wait, on_images=opened) as (learner, plan):
                opening.close()
                trains = plan.cost.trains
                _print_plan(plan, job.skipped, as_json=False, quiet=not show_plan)
                with LearnProgress(plan, quiet=quiet) as progress, stop_on_signal() as stop:

                    def on_images(number: int) -> None:
                        progress.on_images(number)
                        if stop():  # features are not saved, so there is nothing to finish first
                            raise KeyboardInterrupt

                    learner.encoder.on_images = on_images
                    return job.learn(learner, plan, checkpoint_every=checkpoint_every, on_step=progress.on_step, stop=stop)
    except KeyboardInterrupt:
        screen.print(_after_stopping(job.model, trains=trains))
        raise typer.Exit(1) from None


def _after_stopping(model: Path, *, trains: bool) -> str:
    """What is left of a command that was stopped. Without training there is nothing to resume."""
    from mgclip.saving.store import PROGRESS, is_saved

    left = f"{model} is unchanged" if is_saved(model) else "nothing was saved"
    resumed = " to resume from the last checkpoint" if trains and any(model.glob(f"{PROGRESS}*")) else ""
    return f"Stopped; {left}. Run the same command again{resumed}."


def _ask_to_merge(alike: AlikeNames) -> bool:
    """Ask a person at a terminal whether to merge classes with such names."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    typer.echo(alike, err=True)
    return typer.confirm("Learn them as one class?", err=True)


def _print_plan(plan: Plan, skipped: Sequence[SkippedImage], *, as_json: bool, quiet: bool) -> None:
    from mgclip.app.display import out
    from mgclip.app.streams import print_json
    from mgclip.workflows.cost import describe_time

    least, most = (choose(map(len, plan.train.values())) for choose in (min, max))
    if as_json:
        classes = {name: len(files) for name, files in plan.train.items()}
        extra = {"grown": list(plan.grown), "skipped": list(skipped), "notes": plan.notes}
        pairs = [[str(file) for file in pair] for pair in plan.duplicates]
        print_json(
            {
                "classes": classes,
                "images_per_class": {"least": least, "most": most},
                "test_images": plan.test_images,
                "seconds": plan.cost.seconds,
                **({} if plan.cost.span is None else {"seconds_span": plan.cost.span}),
                "memory": plan.cost.memory,
                **{key: value for key, value in {**extra, "duplicates": pairs}.items() if value},
            }
        )
    elif not quiet:
        out.print(
            f"to learn: {_classes_to_learn(plan)}, from {count(plan.images, 'image')}; {plan.test_images:,} more to measure on; "
            f"{describe_time(plan.cost)} and {plan.cost.memory / 1e9:.1f} GB of memory"
        )
        for title, names in (("new classes", plan.new), ("known classes", plan.grown)):
            if names:
                out.print(f"{title}: {_names_and_images(plan, names)}")
        if len(plan.train) > NAMED:
            out.print(f"images per class: {least if least == most else f'{least} to {most}'}")
        if skipped:
            first = f"{skipped[0]['image']} ({skipped[0]['reason']})"
            out.print(f"skipped: {count(len(skipped), 'image')} that cannot be read, such as {first}")
        for note in plan.notes:
            out.print(note)


def _classes_to_learn(plan: Plan) -> str:
    if not plan.grown:
        known = f", in addition to the {plan.known} it knows" if plan.known else ""
        return count(len(plan.new), "class", "classes") + known
    new = [count(len(plan.new), "new class", "new classes")] if plan.new else []
    return " and ".join([*new, f"more images of {len(plan.grown)} of the {plan.known} known classes"])


def _names_and_images(plan: Plan, names: Sequence[str]) -> str:
    listed = [f"{name} ({count(len(plan.train[name]), 'image')})" for name in names[:NAMED]]
    return ", ".join(listed) + (f", and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _print_changes(done: LearnReport) -> None:
    from mgclip.app.display import out
    from mgclip.method.decision import Decision, describe_decision
    from mgclip.workflows.note import gap_moved

    trained = f" in {count(done['epochs'], 'epoch')}" if done["epochs"] else ", no adapters trained"
    out.print(
        f"{done['what']} from {count(done['images'], 'image')}{trained}, {duration(done['seconds'])}; "
        f"{done['model']} knows {count(done['classes_in_all'], 'class', 'classes')}"
    )
    if "adapters" in done:
        out.print(describe_decision(Decision(**done["adapters"])))
    if done.get("skipped"):
        out.print(f"skipped (unreadable): {', '.join(each['image'] for each in done['skipped'])}")
    if done["classes_in_all"] > 1:  # a single class is always right
        _print_accuracies(done)
    before, after = done["untuned"], done["tuned"]
    if done["epochs"] and after["by_text"] is not None:
        out.print(f"text branch before training: {_percent(before['by_text'])}, after: {_percent(after['by_text'])}")
    if done["epochs"] and (moved := gap_moved(done)) is not None:
        out.print(f"modality gap: the similarity of non-matching pairs changed by {round(100 * moved, 1) + 0.0:+.1f} %")
    if before["retention"] is not None and after["retention"] is not None:
        drop = f"{100 * (before['retention'] - after['retention']):.2f}"
        out.print(f"zero-shot accuracy on classes never trained on: {_percent(after['retention'])}, a drop of {drop} points")
    for sentence in done["advice"]:
        out.print(sentence)


def _print_accuracies(done: LearnReport) -> None:
    from mgclip.app.display import out

    accuracy, measured = done["accuracy"], done["test_images"]
    branches, left_out = done["branches"], done["left_out"]
    if branches["images"]:
        out.print(f"accuracy: {_percent(branches['model'])} of {count(branches['images'], 'test image')}{_alone(branches)}")
    if accuracy["old"] is not None:
        if accuracy["new"] is not None:
            which = "these" if done.get("grown") else "the new"
            out.print(f"accuracy on {which} classes: {_percent(accuracy['new'])} of {count(measured['new'], 'test image')}")
        missing = ""
        if measured["gone"]:
            missing = f" ({count(measured['gone'], 'held-out image')} cannot be found or read; if they have moved, use --photos)"
        old = f"accuracy on earlier classes: {_percent(accuracy['old'])} of {count(measured['old'], 'test image')}"
        out.print(f"{old}{missing}; before: {_percent(accuracy['old_before'])}")
    elif done["classes_in_all"] > len(done["classes"]):
        lost = "none of their held-out images can be found: if they have moved, give their folder with --photos"
        why = lost if measured["gone"] else "no image of them was held out"
        out.print(f"accuracy on earlier classes: not measured, because {why}")
    if left_out is not None:
        share = f"{_percent(left_out['model'])} of the learned images, each left out in turn"
        out.print(f"leave-one-out accuracy: {share}{_alone(left_out)}")


def _alone(branches: BranchAccuracies) -> str:
    """The accuracies of each branch alone, if there are two."""
    from mgclip.workflows.branches import each_alone

    return f" ({alone})" if (alone := each_alone(branches)) else ""


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{100 * share:.2f} %"
