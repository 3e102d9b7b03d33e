"""The studio's page, in Gradio: drop images, teach a class, look back, see the gap."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from mgclip.app.studio.work import StudioModel, rows, version_rows
from mgclip.errors import MGCLIPError
from mgclip.method.training import Step

ANSWERS = ["image", "class", "sure", "alike", "texts", "head", "next best"]
WIDTHS = ["19%", "23%", "9%", "9%", "9%", "9%", "22%"]
VERSIONS = ["version", "", "when (UTC)", "what", "images"]
KINDS = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"]
CSS = ".gradio-container {max-width: 1100px !important; margin: auto}"


def build(workshop: StudioModel) -> gr.Blocks:
    """All of the page. Class and file names go into tables and text boxes, which show them as text."""
    with gr.Blocks(title="MG-CLIP studio", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown("# MG-CLIP studio")
        known = gr.Textbox(label="Classes it knows", interactive=False, lines=2, max_lines=6, elem_id="known")
        with gr.Tab("Ask", id="ask"):
            _ask(workshop)
        with gr.Tab("Teach", id="teach"):
            taught = _teach(workshop)
        with gr.Tab("Versions", id="versions"):
            table, went = _versions(workshop)
        with gr.Tab("Gap", id="gap"):
            _gap(workshop)

        def now() -> tuple[str, list[list[Any]]]:
            names = workshop.classes()
            said = f"{len(names)}: {', '.join(names)}" if names else "none yet: teach it one"
            return said, version_rows(workshop.history())

        for event in (page.load, taught, went):
            event(now, outputs=[known, table], show_progress="hidden")
    return page


def _images(name: str) -> gr.File:
    return gr.File(label="Images", file_count="multiple", file_types=KINDS, elem_id=name)


def _ask(workshop: StudioModel) -> None:
    images = _images("ask-images")
    with gr.Row():
        also = gr.Textbox(label="Classes known by their text alone", placeholder="a zebra, a lion", elem_id="also")
        threshold = gr.Slider(0, 1, 0, step=0.01, label="Unknown if less like any class than this")
    button = gr.Button("Classify", variant="primary", elem_id="ask-button")
    table = gr.Dataframe(
        headers=ANSWERS, datatype="str", interactive=False, wrap=True, elem_id="answers", column_widths=WIDTHS
    )
    said = gr.Textbox(label="Message", interactive=False, elem_id="ask-said")

    def ask(files: list[str] | None, texts: str, least: float) -> tuple[list[list[Any]], str]:
        answers, bad = workshop.predict(_paths(files), also=texts, threshold=least)
        return rows(answers), "; ".join(bad) or f"{len(answers)} images classified"

    button.click(_safely(ask, [[]]), [images, also, threshold], [table, said])


def _teach(workshop: StudioModel) -> Callable[..., Any]:
    name = gr.Textbox(label="Name of the class", max_length=200, elem_id="class-name")
    images = _images("teach-images")
    button = gr.Button("Teach it", variant="primary", elem_id="teach-button")
    said = gr.Textbox(label="Message", interactive=False, elem_id="teach-said")

    def teach(called: str, files: list[str] | None, progress: Any = gr.Progress()) -> tuple[str]:  # noqa: B008
        def on_step(step: Step) -> None:
            share = ((step.epoch - 1) * step.steps + step.step) / (step.epochs * step.steps)
            progress(share, desc=f"{step.phase}, epoch {step.epoch} of {step.epochs}")

        progress(0, desc="looking at the images")
        note = workshop.learn_folder(called, _paths(files), on_step)
        return (f"{note['what']} from {note['images']} images in {note['seconds']} s: ask it now.",)

    then: Callable[..., Any] = button.click(_safely(teach, []), [name, images], [said]).then
    return then


def _versions(workshop: StudioModel) -> tuple[gr.Dataframe, Callable[..., Any]]:
    table = gr.Dataframe(
        headers=VERSIONS,
        datatype="str",
        interactive=False,
        wrap=True,
        elem_id="versions",
        column_widths=["11%", "11%", "18%", "48%", "12%"],
    )
    with gr.Row():
        number = gr.Number(
            label="Go to version; 0: the one before", precision=0, value=0, minimum=0, elem_id="to-version"
        )
        button = gr.Button("Go", elem_id="undo-button")
    said = gr.Textbox(label="Message", interactive=False, elem_id="undo-said")

    def go(to: float | None) -> tuple[str]:
        return (f"version {workshop.undo(int(to or 0) or None).number} is in force",)

    then: Callable[..., Any] = button.click(_safely(go, []), [number], [said]).then
    return table, then


def _gap(workshop: StudioModel) -> None:
    gr.Markdown(
        "Where these images lie, and where the texts of all classes do: the distance between them is the modality gap."
    )
    images = _images("gap-images")
    button = gr.Button("Draw", elem_id="gap-button")
    picture = gr.Plot(show_label=False, elem_id="gap-picture")
    said = gr.Textbox(label="Message", interactive=False, elem_id="gap-said")

    def draw(files: list[str] | None) -> tuple[Any, str]:
        from matplotlib.figure import Figure

        from mgclip.report.file_figures import paint_projection

        found, texts, labels, names = workshop.gap_points(_paths(files))
        figure = Figure(figsize=(8, 5), layout="constrained")
        paint_projection(figure.subplots(), found, texts, labels)
        return figure, f"{len(found)} images, {len(names)} class texts"

    button.click(_safely(draw, [None]), [images], [picture, said])


def _paths(files: list[str] | None) -> list[Path]:
    return [Path(file) for file in files or []]


_UPLOADED = re.compile(rf"{re.escape(tempfile.gettempdir())}/\S*/")
"""Where an upload was put: nobody's business on the page."""


def _safely(work: Callable[..., tuple[Any, ...]], nothing: list[Any]) -> Callable[..., Any]:
    """The same work, whose errors are a sentence in the message box beside ``nothing`` for the other outputs."""

    @wraps(work)
    def safe(*given: Any, **more: Any) -> Any:
        try:
            done = work(*given, **more)
        except MGCLIPError as error:
            done = (*nothing, _UPLOADED.sub("", str(error)))
        return done if len(done) > 1 else done[0]

    return safe
