"""The tab *Versions*: what each version is, and a button to go to it."""

from __future__ import annotations

import gradio as gr

from mgclip.app.studio.drop import form_of, safely
from mgclip.app.studio.look import area, message, render, scroll_to
from mgclip.app.studio.work import StudioModel
from mgclip.errors import InputError
from mgclip.saving.versions import describe, shown

MOST_NAMES = 6
"""Classes that the description of a version names."""


def versions_tab(model: StudioModel) -> tuple[gr.HTML, gr.HTML]:
    """Build the tab; returns the output whose change says that another version is active, and the list of versions."""
    done = area("versions-message", kind="outcome")
    listed = area("versions", forms=True)

    def go(event: gr.EventData) -> str:
        number = str(form_of(event).get("version", ""))
        if not number.isdecimal() or len(number) > 9:
            raise InputError(f"A version has a number; found {number[:20]!r}: reload the page.")
        return message(f"Went to version {model.undo(int(number)).number}.")

    went = listed.submit(safely(go), None, [done], api_name="go")
    went.then(None, js=scroll_to("versions-message"), api_name=False)
    return done, listed


def versions_html(model: StudioModel) -> str:
    """The versions, the latest first."""
    rows = [
        {
            "number": version.number,
            "active": version.active,
            "when": version.time[:16].replace("T", " "),
            "what": describe(version.note, most=MOST_NAMES),
            "images": shown(version.note).get("images"),
        }
        for version in reversed(model.history())
    ]
    return render("versions", rows=rows)
