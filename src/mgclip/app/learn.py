"""``mgclip learn``: add a folder's classes to a model, as its next version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from mgclip.experiment.schemas import SkippedImage
    from mgclip.workflows.note import LearnReport
    from mgclip.workflows.plan import Plan
    from mgclip.workflows.source import Source

Images = dict[str, list[Path]] | None


def learn_command(
    folder: Annotated[Path, typer.Argument(help="One folder of images for each class; or train/ and test/ of such.")],
    model: Annotated[Path, typer.Option(help="Folder of the model; created the first time.")],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of a new model, such as epochs=2.")
    ] = None,
    base: Annotated[str, typer.Option(help="CLIP a new model starts from, or where a saved model's CLIP is now.")] = "",
    names: Annotated[
        str, typer.Option(help="Class names: a CSV file (folder,name,text), or folder=name,folder=name.")
    ] = "",
    prompt: Annotated[str, typer.Option(help="Text of a class for a new model, {} for its name.")] = "",
    test: Annotated[
        Path | None, typer.Option(help="Folder of class folders to measure on, instead of holding out.")
    ] = None,
    hold_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of each class's images kept out of training, to measure on.")
    ] = 0.2,
    retention: Annotated[
        Path | None, typer.Option(help="Class folders never trained on: how much zero-shot accuracy is lost.")
    ] = None,
    on_bad_image: Annotated[
        Literal["error", "skip"], typer.Option(help="What to do about an image that cannot be read.")
    ] = "error",
    checkpoint_every: Annotated[
        int, typer.Option(min=1, help="Steps between checkpoints, from which the same learn goes on if it is stopped.")
    ] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait while another process writes the model.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the result of --json.")] = False,
) -> None:
    """Teach a model the classes of a folder, as its next task and version; say before what it takes, after what changed."""
    from mgclip.app.display import RunDisplay, require_single_process, screen
    from mgclip.app.signals import stop_on_signal
    from mgclip.errors import InputError
    from mgclip.experiment.recipe import build_settings, parse_change
    from mgclip.saving.lock import only_writer
    from mgclip.saving.store import check_place, is_saved
    from mgclip.workflows.source import read_images, read_source

    require_single_process("learn")
    check_place(model)
    given = {**dict(map(parse_change, changes or [])), **({"prompt": prompt} if prompt else {})}
    settings = build_settings(given)
    source = read_source(folder, names=names, test=test)
    kept = None if retention is None else read_images(retention)
    skipped: list[SkippedImage] = []
    if on_bad_image == "skip":
        source, kept, skipped = _readable(source, kept)

    from mgclip.method.learner import MGCLIP
    from mgclip.workflows.learn import learn_folder
    from mgclip.workflows.plan import alike_texts, make_plan

    def open_model() -> MGCLIP:
        if not is_saved(model):
            return MGCLIP.from_pretrained(base or DEFAULT, settings=settings)
        computing = {key: value for key, value in settings.runtime().items() if key in given}
        if lasting := [key for key in given if key not in computing]:
            raise InputError(f"{model} exists and keeps its settings: leave {lasting[0]} out, or give a new folder.")
        return MGCLIP.from_pretrained(model, base=base or None, computing=computing)

    def open_and_plan() -> tuple[MGCLIP, Plan]:
        learner = open_model()
        plan = make_plan(learner, source, share=hold_out, seed=learner.settings.seed)
        for one, other in alike_texts(learner, plan):
            screen.print(
                f"The texts {one!r} and {other!r} are the same to this CLIP: give shorter ones with --names.",
                soft_wrap=True,
            )
        return learner, plan

    first = dry_run or not is_saved(model)  # what is wrong with a first learn shows before there is a folder
    learner, plan = open_and_plan() if first else (None, None)
    if dry_run and plan is not None:
        _say(plan, as_json=as_json, quiet=quiet)
        return
    try:
        with only_writer(model, wait=wait):
            if learner is None or plan is None or is_saved(model):  # as it is now: another process may have written it
                learner, plan = open_and_plan()
            _say(plan, as_json=False, quiet=quiet or as_json)
            with RunDisplay(1, quiet=quiet) as display, stop_on_signal() as stop:
                note = learn_folder(
                    learner,
                    model,
                    plan,
                    origin=str(folder),
                    retention=kept,
                    skipped=skipped,
                    on_step=display.on_step,
                    stop=stop,
                    checkpoint_every=checkpoint_every,
                )
    except KeyboardInterrupt:
        screen.print(
            f"Stopped. {model} is as it was; the same command goes on from the last checkpoint.", soft_wrap=True
        )
        raise typer.Exit(1) from None
    done: LearnReport = {"model": str(model), **note, "classes_in_all": len(learner.class_names)}
    if as_json:
        typer.echo(json.dumps(done))
    elif not quiet:
        _report(done)


def _readable(source: Source, kept: Images) -> tuple[Source, Images, list[SkippedImage]]:
    """The same without the images that cannot be read, and the list of these."""
    from dataclasses import replace

    from mgclip.workflows.source import readable

    train, skipped = readable(source.train)
    tests, more = (None, []) if source.tests is None else readable(source.tests)
    rest, others = (None, []) if kept is None else readable(kept)
    return replace(source, train=train, tests=tests), rest, [*skipped, *more, *others]


DEFAULT = "openai/clip-vit-base-patch16"


def _say(plan: Plan, *, as_json: bool, quiet: bool) -> None:
    """What is about to be done."""
    from mgclip.app.display import out
    from mgclip.errors import one_line

    low, high = plan.seconds
    if as_json:
        sizes = {name: len(files) for name, files in plan.train.items()}
        notes = {"notes": plan.notes} if plan.notes else {}
        typer.echo(json.dumps({"classes": sizes, "test_images": plan.test_images, "seconds": plan.seconds, **notes}))
    elif not quiet:
        spans = sorted({_minutes(low), _minutes(high)}, key=len)
        known = f", beside {plan.known} it knows" if plan.known else ""
        out.print(
            f"to learn: {len(plan.train)} classes{known}, from {plan.images} images; {plan.test_images} more to measure on; "
            f"about {' to '.join(dict.fromkeys([_minutes(low), _minutes(high)])) if len(spans) > 1 else spans[0]}"
        )
        for note in plan.notes:
            out.print(one_line(note))


def _minutes(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def _report(done: LearnReport) -> None:
    """What changed, in a few lines."""
    from mgclip.app.display import out, percent
    from mgclip.workflows.note import gap_moved

    accuracy, seen = done["accuracy"], done["test_images"]
    out.print(
        f"{done['what']} from {done['images']} images in {done['epochs']} epochs, {_minutes(done['seconds'])}; "
        f"{done['model']} knows {done['classes_in_all']}"
    )
    if done.get("skipped"):
        out.print(f"left out, because they cannot be read: {', '.join(each['image'] for each in done['skipped'])}")
    if accuracy["new"] is not None:
        out.print(f"accuracy on the new classes: {percent(accuracy['new'])} % of {seen['new']} images not trained on")
    if accuracy["old"] is not None:
        gone = f" ({seen['gone']} more are gone)" if seen["gone"] else ""
        out.print(
            f"accuracy on earlier classes: {percent(accuracy['old'])} %, before {percent(accuracy['old_before'])} %, "
            f"of {seen['old']} images not trained on{gone}"
        )
    elif done["classes_in_all"] > len(done["classes"]):
        out.print("accuracy on earlier classes: not measured, for no image was held out of them that is still there")
    before, after = done["untuned"], done["tuned"]
    if after["by_text"] is not None:
        out.print(
            f"by class texts alone: {percent(after['by_text'])} %, the CLIP as it was {percent(before['by_text'])} %"
        )
    if (moved := gap_moved(done)) is not None:
        out.print(f"modality gap: the similarity of non-matching pairs moved by {100 * moved:+.1f} %")
    if before["retention"] is not None and after["retention"] is not None:
        drop = before["retention"] - after["retention"]
        out.print(
            f"zero-shot on what was never trained on: {percent(after['retention'])} %, {percent(drop)} points lost"
        )
