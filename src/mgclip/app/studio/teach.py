"""The tab *Teach*: images of new and of known classes, the plan before and the change after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from mgclip.app.studio.drop import LEARNED, Limits, Upload, drop_zone, errors_with_places, places_of, safely, uploads, with_places
from mgclip.app.studio.look import area, render
from mgclip.app.studio.work import StudioModel
from mgclip.errors import InputError
from mgclip.experiment.schemas import SkippedImage
from mgclip.method.training import Step
from mgclip.names import tidy
from mgclip.words import count
from mgclip.workflows.cost import describe_time
from mgclip.workflows.note import LearnNote
from mgclip.workflows.plan import Plan

ZONE = "document.querySelector('#teach-images .drop')"
"""The drop zone, in the browser."""


def teach_tab(model: StudioModel, limits: Limits) -> gr.HTML:
    """Build the tab; returns the output whose change says that the model was taught."""
    with gr.Row(elem_classes="panes"):
        with gr.Column(elem_classes="controls"):
            dropped = drop_zone("teach-images", limits, grouped=True)
            planning = gr.Button("Show the plan", variant="primary", elem_id="plan-button")
        with gr.Column(elem_classes="results"):
            done = area("teach-message", kind="outcome")
            plan = area("plan", render("no_plan"), heard=True)
            button = gr.Button("Teach", variant="primary", visible=False, elem_id="teach-button")

    def show_plan(value: str) -> tuple[Any, Any, str]:
        dropped = uploads(value, limits)
        places = places_of(dropped)
        with errors_with_places(places):
            planned, skipped = model.plan(by_class(dropped))
        return (
            plan_html(planned, skipped, places),
            gr.Button(f"Teach {count(planned.images, 'image')}", visible=True),
            "",
        )

    def teach(value: str, progress: Any = gr.Progress()) -> tuple[Any, Any, Any, str]:  # noqa: B008
        def on_images(number: int, of: int) -> None:
            progress(number / of, desc="encoding the images")

        def on_step(step: Step) -> None:
            share = ((step.epoch - 1) * step.steps + step.step) / (step.epochs * step.steps)
            progress(share, desc=f"{step.phase}, epoch {step.epoch} of {step.epochs}")

        progress(None, desc="opening the images")
        dropped = uploads(value, limits)
        places = places_of(dropped)
        with errors_with_places(places):
            note, before, about = model.learn(by_class(dropped), on_step, on_images)
        return LEARNED, "", gr.Button(visible=False), change_html(note, before, len(about.classes), places)

    # In the browser, because the server might answer after it has answered a click on the plan that followed the change. Images
    # that were just learned leave the drop zone empty; what was learned then stays on the page.
    no_plan, hide, stay = json.dumps(render("no_plan")), "{__type__: 'update', visible: false}", "{__type__: 'update'}"
    forget_plan = f"value => value && value !== '{LEARNED}' ? [{no_plan}, {hide}, ''] : ['', {hide}, {stay}]"
    hidden = gr.Button(visible=False)
    dropped.change(None, [dropped], [plan, button, done], js=forget_plan, api_name=False)
    planning.click(safely(show_plan, "", hidden), [dropped], [plan, button, done], api_name="plan")
    shown = [dropped, plan, button, done]
    # While the model learns, the drop zone takes no more images: it is emptied afterwards.
    teaching = button.click(
        safely(teach, gr.skip(), gr.skip(), gr.skip()),
        [dropped],
        shown,
        show_progress_on=[done],
        api_name="teach",
        js=f"value => {{ {ZONE}.dataset.locked = 'yes'; return value }}",
    )
    for ended in (teaching.then, teaching.failure):  # the latter if the request itself fails
        ended(None, js=f"() => {{ delete {ZONE}.dataset.locked }}", api_name=False)
    return done


def by_class(dropped: Sequence[Upload]) -> dict[str, list[Path]]:
    """Files by class. Raises ``InputError`` if one has no class."""
    classes: dict[str, list[Path]] = {}
    for each in dropped:
        classes.setdefault(tidy(each.group), []).append(each.file)
    if nameless := classes.get(""):
        raise InputError(f"{count(len(nameless), 'image')} without a class: fill in the name of the class.")
    return {name: list(dict.fromkeys(files)) for name, files in classes.items()}


def unread(skipped: Sequence[SkippedImage], places: Mapping[Path, Sequence[str]]) -> list[str]:
    """What is wrong with images that cannot be read; ``places``: where each file was, if that is not its path."""
    files = [Path(each["image"]) for each in skipped]
    where = [", ".join(places.get(file, [file.name])) for file in files]
    return [f"{place} cannot be read ({each['reason']})" for place, each in zip(where, skipped, strict=True)]


def plan_html(plan: Plan, skipped: Sequence[SkippedImage], places: Mapping[Path, Sequence[str]] = {}) -> str:
    """The plan: each class with its images, what is left out, and the time."""
    notes = [*unread(skipped, places), *(with_places(note, places) for note in plan.notes)]
    return render("plan", plan=plan, notes=notes, time=describe_time(plan.cost))


def change_html(note: LearnNote, before: float | None, classes: int, places: Mapping[Path, Sequence[str]] = {}) -> str:
    """What was learned, and the measures before and after.

    Args:
        note: The note of the version.
        before: The leave-one-out accuracy before it.
        classes: The number of classes that the model knows now.
        places: Where each file was, if that is not its path.
    """
    accuracy = note["accuracy"]
    measures = [
        ("Leave-one-out accuracy", "of the learned images, each left out in turn", before, note["leave_one_out"]),
        ("Accuracy on earlier classes", "of their held-out images", accuracy["old_before"], accuracy["old"]),
    ]
    measured = [each for each in measures if each[3] is not None]
    return render("change", note=note, classes=classes, measures=measured, skipped=unread(note.get("skipped", []), places))
