"""The tab *Classes*: example pictures and counts; rename, unite and forget classes."""

from __future__ import annotations

from typing import Any

import gradio as gr

from mgclip.app.studio.drop import form_of, safely
from mgclip.app.studio.look import area, message, render, scroll_to
from mgclip.app.studio.work import StudioModel
from mgclip.errors import InputError
from mgclip.names import tidy
from mgclip.report.thumbnails import thumbnail
from mgclip.workflows.edit_model import Forgotten

SHOWN = 48
"""Classes on the page; others are found by name."""
PICTURES = 4
"""Example pictures of a class."""


def classes_tab(model: StudioModel) -> tuple[gr.HTML, gr.HTML, gr.Textbox]:
    """Build the tab; returns the output whose change says that classes changed, the list of classes, and the search field."""
    search = gr.Textbox(
        "",
        label="Find a class",
        placeholder="Find a class",
        show_label=False,
        container=False,
        elem_id="find-class",
        max_lines=1,
        visible=False,
    )
    done = area("classes-message", kind="outcome")
    shown = area("classes", message("Reading the classes …"), forms=True)

    def edit(event: gr.EventData) -> str:
        form = form_of(event)
        act, name, to = (str(form.get(key, "")) for key in ("act", "name", "to"))
        if act == "rename":
            model.rename(name, to)
            return message(f"Renamed {name} to {tidy(to)}.")
        if act == "unite":
            model.unite(name, to)
            return message(f"United {name} with {to}.")
        if act == "forget":
            return message(_forgotten(name, model.forget(name)))
        raise InputError(f"Expected rename, unite or forget; found {act!r}.")

    edited = shown.submit(safely(edit), None, [done], api_name="edit")
    edited.then(None, js=scroll_to("classes-message"), api_name=False)
    search.change(safely(lambda text: classes_html(model, text)), [search], [shown], show_progress="hidden", api_name=False)
    return done, shown, search


def _forgotten(name: str, left: Forgotten) -> str:
    sentences = [f"{name} was removed; earlier versions still contain it."]
    if left.traces:
        sentences.append(
            "The scatter of its images remains in sums over all images. To remove that too, go back to the previous version and "
            "run mgclip forget with --images."
        )
    if left.adapted:
        sentences.append("What the adapters learned from its images cannot be removed.")
    return " ".join(sentences)


def classes_html(model: StudioModel, text: str = "") -> str:
    """The classes whose names contain a text, as cards."""
    about, wanted = model.about(), (text or "").strip().casefold()
    found = [each for each in about.classes if wanted in each.name.casefold()]
    listed = found[:SHOWN]
    held_out = model.examples([each.name for each in listed], PICTURES + 2)
    cards: list[dict[str, Any]] = []
    for each in listed:
        files, number = held_out.get(each.name, ([], 0))
        pictures = [picture for file in files if (picture := thumbnail(file)) is not None]
        cards.append({"class": each, "held_out": number, "pictures": pictures[:PICTURES]})
    return render("classes", about=about, cards=cards, found=len(found), text=wanted)
