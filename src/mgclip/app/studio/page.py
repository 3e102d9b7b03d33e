"""The studio's page, in Gradio: predict and correct, learn a class, go back to a version, see the modality gap."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from mgclip.app.studio.work import StudioModel, answer_rows, version_rows
from mgclip.errors import InputError, MGCLIPError
from mgclip.method.training import Step
from mgclip.words import count
from mgclip.workflows.correct import describe_corrections

ANSWERS = {"image": 19, "class": 22, "confidence": 10, "likeness": 10, "text branch": 10, "head": 9, "next best": 20}
VERSIONS = {"version": 11, "": 11, "when (UTC)": 18, "what": 48, "images": 12}
"""Columns of the tables of answers and of versions -> their widths in percent."""
EXTENSIONS = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"]
CSS = ".gradio-container {max-width: 1100px !important; margin: auto}"


def build(model: StudioModel) -> gr.Blocks:
    """Build the page. Class and file names appear in tables and text boxes only, which show them as text."""
    with gr.Blocks(title="MG-CLIP studio", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown("# MG-CLIP studio")
        known = gr.Textbox(label="Classes it knows", interactive=False, lines=2, max_lines=6, elem_id="known")
        with gr.Tab("Predict", id="predict"):
            classes, after_correction = _predict_tab(model)
        with gr.Tab("Learn", id="learn"):
            after_learning = _learn_tab(model)
        with gr.Tab("Versions", id="versions"):
            table, after_activation = _versions_tab(model)
        with gr.Tab("Gap", id="gap"):
            _gap_tab(model)

        def refresh() -> tuple[str, list[list[Any]], Any]:
            names = model.classes()
            known = f"{len(names)}: {', '.join(names)}" if names else "none yet"
            return known, version_rows(model.history()), gr.Dropdown(choices=names)

        for event in (page.load, after_learning, after_activation, after_correction):
            event(refresh, outputs=[known, table, classes], show_progress="hidden")
    return page


def _images(name: str) -> gr.File:
    return gr.File(label="Images", file_count="multiple", file_types=EXTENSIONS, elem_id=name)


def _message(name: str) -> gr.Textbox:
    return gr.Textbox(label="Message", interactive=False, elem_id=name)


def _table(columns: dict[str, int], name: str) -> gr.Dataframe:
    headers, widths = list(columns), [f"{width}%" for width in columns.values()]
    return gr.Dataframe(headers=headers, datatype="str", interactive=False, wrap=True, elem_id=name, column_widths=widths)


def _predict_tab(model: StudioModel) -> tuple[gr.Dropdown, Callable[..., Any]]:
    images = _images("predict-images")
    with gr.Row():
        candidates = gr.Textbox(
            label="Candidate classes, recognised by their text only",
            placeholder="a zebra, a lion",
            elem_id="candidates",
        )
        threshold = gr.Slider(0, 1, 0, step=0.01, label="Answer unknown if the likeness is below")
    button = gr.Button("Predict", variant="primary", elem_id="predict-button")
    table = _table(ANSWERS, "answers")
    message = _message("predict-message")
    gr.Markdown("Is an answer wrong? Choose the image and its class: the model learns it as a new version.")
    with gr.Row():
        image = gr.Dropdown(label="Image", type="index", elem_id="correct-image")
        right = gr.Dropdown(label="This is a", elem_id="correct-class")
        correction = gr.Button("Correct", elem_id="correct-button")
    corrected = _message("correct-message")

    def correct(files: list[str] | None, number: int | None, name: str | None) -> tuple[str]:
        if not files or number is None or not 0 <= number < len(files) or not name:
            raise InputError("Choose an image and its class first.")
        return (describe_corrections(model.correct(name, Path(files[number]))),)

    def list_images(files: list[str] | None) -> Any:
        names = [f"{number}: {file.name}" for number, file in enumerate(_paths(files), start=1)]
        return gr.Dropdown(choices=names, value=names[0] if names else None)

    images.change(list_images, [images], [image], show_progress="hidden", api_name=False)

    def predict(files: list[str] | None, texts: str, least: float) -> tuple[list[list[Any]], str]:
        answers, problems = model.predict(_paths(files), candidates=texts, threshold=least)
        return answer_rows(answers), "; ".join(problems) or f"{count(len(answers), 'image')} classified"

    button.click(_safely(predict, [[]]), [images, candidates, threshold], [table, message])
    then: Callable[..., Any] = correction.click(_safely(correct, []), [images, image, right], [corrected]).then
    return right, then


def _learn_tab(model: StudioModel) -> Callable[..., Any]:
    name = gr.Textbox(label="Name of the class", max_length=200, elem_id="class-name")
    images = _images("learn-images")
    button = gr.Button("Learn", variant="primary", elem_id="learn-button")
    message = _message("learn-message")

    def learn(class_name: str, files: list[str] | None, progress: Any = gr.Progress()) -> tuple[str]:  # noqa: B008
        def on_step(step: Step) -> None:
            share = ((step.epoch - 1) * step.steps + step.step) / (step.epochs * step.steps)
            progress(share, desc=f"{step.phase}, epoch {step.epoch} of {step.epochs}")

        progress(0, desc="reading the images")
        note = model.learn(class_name, _paths(files), on_step)
        return (f"{note['what']} from {count(note['images'], 'image')} in {note['seconds']} s",)

    then: Callable[..., Any] = button.click(_safely(learn, []), [name, images], [message]).then
    return then


def _versions_tab(model: StudioModel) -> tuple[gr.Dataframe, Callable[..., Any]]:
    table = _table(VERSIONS, "versions")
    with gr.Row():
        number = gr.Number(label="Version to go to; 0: the previous one", precision=0, value=0, minimum=0, elem_id="to-version")
        button = gr.Button("Go", elem_id="undo-button")
    message = _message("undo-message")

    def undo(to: float | None) -> tuple[str]:
        return (f"version {model.undo(int(to or 0) or None).number} is active",)

    then: Callable[..., Any] = button.click(_safely(undo, []), [number], [message]).then
    return table, then


def _gap_tab(model: StudioModel) -> None:
    gr.Markdown("These images and the texts of all classes, in one plane: the distance between them is the modality gap.")
    images = _images("gap-images")
    button = gr.Button("Draw", elem_id="gap-button")
    picture = gr.Plot(show_label=False, elem_id="gap-picture")
    message = _message("gap-message")

    def draw(files: list[str] | None) -> tuple[Any, str]:
        from matplotlib.figure import Figure

        from mgclip.report.file_figures import paint_projection

        found, texts, labels, names = model.gap_points(_paths(files))
        figure = Figure(figsize=(8, 5), layout="constrained")
        paint_projection(figure.subplots(), found, texts, labels)
        return figure, f"{count(len(found), 'image')}, {count(len(names), 'class text')}"

    button.click(_safely(draw, [None]), [images], [picture, message])


def _paths(files: list[str] | None) -> list[Path]:
    return [Path(file) for file in files or []]


_UPLOADED = re.compile(rf"{re.escape(tempfile.gettempdir())}/\S*/")
"""Temporary upload paths, which are not to be shown on the page."""


def _safely(work: Callable[..., tuple[Any, ...]], empty: list[Any]) -> Callable[..., Any]:
    """A function of the page whose errors become the message. Its other outputs are then ``empty``."""

    @wraps(work)
    def safe(*given: Any, **more: Any) -> Any:
        try:
            done = work(*given, **more)
        except MGCLIPError as error:
            done = (*empty, _UPLOADED.sub("", str(error)))
        return done if len(done) > 1 else done[0]

    return safe
