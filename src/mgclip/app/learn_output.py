"""What ``mgclip learn`` prints: the plan before learning, and what has changed after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mgclip.app.display import out
from mgclip.app.streams import print_json
from mgclip.words import count, duration

if TYPE_CHECKING:
    from mgclip.experiment.schemas import SkippedImage
    from mgclip.workflows.branches import BranchAccuracies
    from mgclip.workflows.note import LearnReport
    from mgclip.workflows.plan import Plan

NAMED = 10
"""The most classes of the plan, and the most skipped images, that are named."""


def print_plan(plan: Plan, skipped: Sequence[SkippedImage], *, as_json: bool, quiet: bool) -> None:
    """Print the plan: as JSON, as text, or not at all."""
    from mgclip.workflows.cost import describe_time

    least, most = (choose(map(len, plan.train.values())) for choose in (min, max))
    if as_json:
        classes = {name: len(files) for name, files in plan.train.items()}
        pairs = [[str(file) for file in pair] for pair in plan.duplicates]
        extra = {"grown": list(plan.grown), "skipped": list(skipped), "notes": plan.notes, "duplicates": pairs}
        print_json(
            {
                "classes": classes,
                "images_per_class": {"least": least, "most": most},
                "test_images": plan.test_images,
                "seconds": plan.cost.seconds,
                **({} if plan.cost.span is None else {"seconds_span": plan.cost.span}),
                "memory": plan.cost.memory,
                **{key: value for key, value in extra.items() if value},
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
        print_skipped(skipped)
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


def print_skipped(skipped: Sequence[SkippedImage]) -> None:
    """List what was skipped because it cannot be read."""
    for each in skipped[:NAMED]:
        out.print(f"skipped: {each['image']} ({each['reason']})")
    if len(skipped) > NAMED:
        out.print(f"skipped: {len(skipped) - NAMED:,} more, which --json lists")


def print_changes(done: LearnReport, *, as_json: bool, quiet: bool) -> None:
    """Print what was learned and measured: as JSON, as text, or not at all."""
    if as_json:
        print_json(done)
    elif not quiet:
        _print_changes(done)


def _print_changes(done: LearnReport) -> None:
    from mgclip.method.analytic.decision import Decision, describe_decision
    from mgclip.workflows.note import gap_moved

    trained = f" in {count(done['epochs'], 'epoch')}" if done["epochs"] else ", no adapters trained"
    out.print(
        f"{done['what']} from {count(done['images'], 'image')}{trained}, {duration(done['seconds'])}; "
        f"{done['model']} knows {count(done['classes_in_all'], 'class', 'classes')}"
    )
    if "adapters" in done:
        out.print(describe_decision(Decision(**done["adapters"])))
    if done["classes_in_all"] > 1:  # a single class is always right
        _print_accuracies(done)
    before, after = done["untuned"], done["tuned"]
    if done["epochs"] and after["by_text"] is not None:
        out.print(f"text branch before training: {_percent(before['by_text'])}, after: {_percent(after['by_text'])}")
    if done["epochs"] and (moved := gap_moved(done)) is not None:
        out.print(f"modality gap: the similarity of non-matching pairs changed by {round(100 * moved, 1) + 0.0:+.1f} %")
    if before["retention"] is not None and after["retention"] is not None:
        change = round(100 * (after["retention"] - before["retention"]), 2) + 0.0  # not -0.00
        out.print(f"zero-shot accuracy on classes never trained on: {_percent(after['retention'])}, {change:+.2f} points")
    for sentence in done["advice"]:
        out.print(sentence)


def _print_accuracies(done: LearnReport) -> None:
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
            gone = count(measured["gone"], "held-out image")
            missing = f" ({gone} cannot be found or read; if the photographs have moved, use --photos)"
        old = f"accuracy on earlier classes: {_percent(accuracy['old'])} of {count(measured['old'], 'test image')}"
        before = "" if accuracy["old_before"] is None else f"; before: {_percent(accuracy['old_before'])}"
        out.print(f"{old}{missing}{before}")
    elif done["classes_in_all"] > len(done["classes"]):
        lost = "none of their held-out images can be found: if the photographs have moved, give their folder with --photos"
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
