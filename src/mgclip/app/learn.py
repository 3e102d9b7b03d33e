"""``mgclip learn``: add the classes and images of a folder to a model, as its next version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgclip.app.options import Architecture, Changes, CheckpointEvery, Json, Names, NewBase, OnBadImage, Quiet, with_architecture
from mgclip.words import count

if TYPE_CHECKING:
    from mgclip.workflows.note import LearnReport
    from mgclip.workflows.plan import Plan


Retention = Annotated[
    Path | None, typer.Option(help="Folder of classes never trained on, to measure the loss of zero-shot accuracy.")
]
TestFolder = Annotated[Path | None, typer.Option(help="Folder of class folders to measure on, instead of held-out images.")]


Source = Annotated[
    Path,
    typer.Argument(help="Folder with one sub-folder of images per class, or with train/ and test/ folders of that kind."),
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
    prompt: Prompt = None,
    test: TestFolder = None,
    hold_out: HoldOut = 0.2,
    retention: Retention = None,
    on_bad_image: OnBadImage = "error",
    checkpoint_every: CheckpointEvery = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and exit.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait while another process writes the model.")] = 0.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach a model the classes in a folder. Prints a plan before training and a summary of changes afterwards."""
    from mgclip.app.display import RunDisplay, require_single_process, screen
    from mgclip.app.signals import stop_on_signal
    from mgclip.app.streams import print_json
    from mgclip.method.alike_texts import warn_of_alike_texts
    from mgclip.workflows.learn_job import read_job

    require_single_process("learn")
    job = read_job(
        folder,
        model,
        changes=changes or (),
        prompt=prompt or (),
        base=with_architecture(base, arch),
        method=method,
        like=like,
        names=names,
        test=test,
        hold_out=hold_out,
        retention=retention,
        skip_unreadable=on_bad_image == "skip",
    )
    if dry_run:
        learner, plan = job.plan()
        texts = [text for name, text in zip(plan.train, plan.texts, strict=True) if name in plan.new]
        warn_of_alike_texts(learner.backbone, learner.settings, learner.class_texts, texts)
        _print_plan(plan, as_json=as_json, quiet=quiet)
        return
    try:
        with job.begin(wait=wait) as (learner, plan):
            _print_plan(plan, as_json=False, quiet=quiet or as_json)
            with RunDisplay(1, quiet=quiet) as display, stop_on_signal() as stop:
                done = job.learn(learner, plan, on_step=display.on_step, checkpoint_every=checkpoint_every, stop=stop)
    except KeyboardInterrupt:
        screen.print(f"Stopped. {model} is unchanged; run the same command again to resume from the last checkpoint.")
        raise typer.Exit(1) from None
    if as_json:
        print_json(done)
    elif not quiet:
        _print_changes(done)


def _print_plan(plan: Plan, *, as_json: bool, quiet: bool) -> None:
    from mgclip.app.display import out
    from mgclip.app.streams import print_json

    if as_json:
        classes = {name: len(files) for name, files in plan.train.items()}
        notes = {"notes": plan.notes} if plan.notes else {}
        grown = {"grown": list(plan.grown)} if plan.grown else {}
        print_json({"classes": classes, **grown, "test_images": plan.test_images, "seconds": plan.seconds, **notes})
    elif not quiet:
        shortest, longest = map(_duration, plan.seconds)
        out.print(
            f"to learn: {_classes_to_learn(plan)}, from {count(plan.images, 'image')}; "
            f"{plan.test_images:,} more to measure on; "
            f"about {shortest if shortest == longest else f'{shortest} to {longest}'}"
        )
        if plan.grown:
            for title, names in (("new classes", plan.new), ("known classes", plan.grown)):
                if names:
                    out.print(f"{title}: {_names_and_images(plan, names)}")
        for note in plan.notes:
            out.print(note)


def _classes_to_learn(plan: Plan) -> str:
    if not plan.grown:
        known = f", in addition to the {plan.known} it knows" if plan.known else ""
        return count(len(plan.new), "class", "classes") + known
    new = [count(len(plan.new), "new class", "new classes")] if plan.new else []
    return " and ".join([*new, f"more images of {len(plan.grown)} of the {plan.known} known classes"])


def _names_and_images(plan: Plan, names: Sequence[str], most: int = 10) -> str:
    listed = [f"{name} ({count(len(plan.train[name]), 'image')})" for name in names[:most]]
    return ", ".join(listed) + (f", and {len(names) - most} more" if len(names) > most else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _print_changes(done: LearnReport) -> None:
    from mgclip.app.display import out, percent
    from mgclip.method.decision import Decision, describe_decision
    from mgclip.workflows.note import gap_moved

    accuracy, measured = done["accuracy"], done["test_images"]
    which = "these" if done.get("grown") else "the new"
    epochs = f" in {count(done['epochs'], 'epoch')}" if done["epochs"] else ""
    out.print(
        f"{done['what']} from {count(done['images'], 'image')}{epochs}, {_duration(done['seconds'])}; "
        f"{done['model']} knows {done['classes_in_all']}"
    )
    if "adapters" in done:
        out.print(describe_decision(Decision(**done["adapters"])))
    if done.get("skipped"):
        out.print(f"skipped (unreadable): {', '.join(each['image'] for each in done['skipped'])}")
    if accuracy["new"] is not None:
        out.print(f"accuracy on {which} classes: {percent(accuracy['new'])} % of {count(measured['new'], 'test image')}")
    if accuracy["old"] is not None:
        old = f"accuracy on earlier classes: {percent(accuracy['old'])} % of {count(measured['old'], 'test image')}"
        missing = f" ({count(measured['gone'], 'held-out image')} cannot be found or read)" if measured["gone"] else ""
        out.print(f"{old}{missing}; before: {percent(accuracy['old_before'])} %")
    elif done["classes_in_all"] > len(done["classes"]):
        out.print("accuracy on earlier classes: not measured, because none of their held-out images are left")
    if done["leave_one_out"] is not None:
        out.print(f"leave-one-out accuracy: {percent(done['leave_one_out'])} % of the learned images, each left out in turn")
    before, after = done["untuned"], done["tuned"]
    if after["by_text"] is not None:
        out.print(f"text branch only: {percent(after['by_text'])} % (pre-trained CLIP: {percent(before['by_text'])} %)")
    if done["epochs"] and (moved := gap_moved(done)) is not None:
        out.print(f"modality gap: the similarity of non-matching pairs changed by {100 * moved:+.1f} %")
    if before["retention"] is not None and after["retention"] is not None:
        drop = percent(before["retention"] - after["retention"])
        out.print(f"zero-shot accuracy on classes never trained on: {percent(after['retention'])} %, a drop of {drop} points")
