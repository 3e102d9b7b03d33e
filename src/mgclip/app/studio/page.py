"""The studio's page, in Gradio: the model in view, and a tab for each thing to do with it."""

from __future__ import annotations

import json

import gradio as gr

from mgclip.app.studio.active import About
from mgclip.app.studio.ask import ask_tab
from mgclip.app.studio.classes import classes_html, classes_tab
from mgclip.app.studio.drop import Limits, safely
from mgclip.app.studio.gap import gap_tab
from mgclip.app.studio.look import area, render
from mgclip.app.studio.teach import teach_tab
from mgclip.app.studio.versions import versions_html, versions_tab
from mgclip.app.studio.work import StudioModel

FEW = 12
"""Up to this many classes need no search field."""


def build(model: StudioModel, limits: Limits) -> gr.Blocks:
    """Build the page. Names of classes and files are escaped by the templates, so they appear as text."""
    with gr.Blocks(title="MG-CLIP studio", analytics_enabled=False, delete_cache=(600, 3600), fill_width=True) as page:
        head = area("about", about_html(model.about(), read=False))  # when the page is opened, the model may be another one
        with gr.Tabs(overflow_behavior="wrap", elem_id="tabs"):
            with gr.Tab("Ask", id="ask"):
                asked, answers = ask_tab(model, limits)
            with gr.Tab("Teach", id="teach"):
                taught = teach_tab(model, limits)
            with gr.Tab("Classes", id="classes") as listing:
                edited, classes, search = classes_tab(model)
            with gr.Tab("Versions", id="versions") as past:
                went, versions = versions_tab(model)
            with gr.Tab("Gap", id="gap"):
                gap_tab(model, limits)

        def refresh() -> tuple[str, str]:  # the head is the last output, because an error about the model has to stay in view
            about = model.about()
            return versions_html(model), about_html(about)

        # What was wrong when images were asked about may be right now. Answers say of which version they are.
        ask_again = f"answers => ['', answers || {json.dumps(render('no_answers'))}]"
        others = [taught.change, edited.change, went.change]
        gr.on(others, None, [answers], [asked, answers], js=ask_again, api_name=False)
        changes = [page.load, asked.change, taught.change, edited.change, went.change]
        # Another page or command may have changed the model in the meantime.
        changes += [answers.change, listing.select, past.select]
        gr.on(changes, safely(refresh, gr.skip()), None, [versions, head], show_progress="hidden", api_name="refresh")

        def refresh_classes(text: str) -> tuple[gr.Textbox, str]:  # only if they are in view: their pictures take time
            return gr.Textbox(visible=len(model.about().classes) > FEW), classes_html(model, text)

        shown = safely(refresh_classes, gr.skip())
        gr.on([listing.select, edited.change], shown, [search], [search, classes], show_progress="hidden", api_name=False)
    return page


def about_html(about: About, *, read: bool = True) -> str:
    """The model, its CLIP and its classes, in one or two lines that stay in view.

    Args:
        about: The model.
        read: Whether its version and its classes are shown; otherwise that they are being read.
    """
    return render("about", about=about, name=about.folder.resolve().name, read=read)
