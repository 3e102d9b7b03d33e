"""The tab *Ask*: the answer to each image, to download and to correct."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from mgclip.app.studio.active import About
from mgclip.app.studio.drop import UPLOADING, Limits, drop_zone, errors_with_places, form_of, places_of, safely, uploads
from mgclip.app.studio.look import area, message, render, scroll_to
from mgclip.app.studio.work import StudioModel
from mgclip.csv_text import csv_text
from mgclip.errors import InputError
from mgclip.report.thumbnails import thumbnail
from mgclip.words import count
from mgclip.workflows.advice import ONE_CLASS
from mgclip.workflows.answers import BRANCHES, COLUMNS, Answer
from mgclip.workflows.correct import describe_corrections


def ask_tab(model: StudioModel, limits: Limits) -> tuple[gr.HTML, gr.HTML]:
    """Build the tab; returns the output whose change says that answers were corrected, and the answers."""
    with gr.Row(elem_classes="panes"):
        with gr.Column(elem_classes="controls"):
            dropped = drop_zone("ask-images", limits)
            with gr.Accordion("More options", open=False, elem_id="ask-options"):
                candidates = gr.Textbox(
                    "",
                    label="Other possible classes",
                    info="Recognised by their text only, separated by commas.",
                    placeholder="a zebra, a lion",
                    elem_id="candidates",
                )
                threshold = gr.Slider(
                    0,
                    1,
                    0,
                    step=0.01,
                    label="Answer “unknown” below this likeness",
                    info="0: the threshold of the model, if it has one. `mgclip evaluate` suggests a value.",
                    elem_id="threshold",
                )
            button = gr.Button("Ask", variant="primary", elem_id="ask-button")
        with gr.Column(elem_classes="results"):
            done = area("ask-message", kind="outcome")
            answers = area("answers", render("no_answers"), forms=True, heard=True)

    def ask(value: str, texts: str, least: float) -> tuple[str, str]:
        places = places_of(uploads(value, limits))
        found, bad, about = model.predict(list(places), candidates=texts or "", threshold=least or None)
        problems = [f"{', '.join(places[file])} cannot be read ({reason})." for file, reason in bad]
        return answers_html(found, about, places), message(" ".join(problems), error=True)

    def ask_at_once(value: str, texts: str, least: float) -> tuple[Any, Any]:
        if value == UPLOADING:
            return gr.skip(), gr.skip()
        return ask(value, texts, least) if value and value != "[]" else (empty, "")

    def correct(value: str, texts: str, least: float, event: gr.EventData) -> tuple[str, str]:
        places = places_of(uploads(value, limits))
        right = corrections(list(places), form_of(event))
        with errors_with_places(places):
            report = model.correct(right)
        corrected = message(f"Corrected: {describe_corrections(report)}.")
        return ask(value, texts, least)[0], corrected

    given, shown, empty = [dropped, candidates, threshold], [answers, done], render("no_answers")
    dropped.change(safely(ask_at_once, ""), given, shown, api_name=False)
    gr.on([button.click, candidates.submit], safely(ask, ""), given, shown, api_name="ask")
    corrected = answers.submit(safely(correct, gr.skip()), given, shown, api_name="correct")
    corrected.then(None, js=scroll_to("ask-message"), api_name=False)
    return done, answers


def corrections(files: Sequence[Path], form: Mapping[str, Any]) -> dict[Path, str]:
    """The right class of each image for which one was given: each field has the path of its image as its name."""
    dropped, right = {str(file): file for file in files}, {}
    for path, name in form.items():
        if str(name).strip():
            if path not in dropped:
                raise InputError("The images have changed: ask again, then correct the answers.")
            right[dropped[path]] = str(name).strip()
    if not right:
        raise InputError("There is no correction: give the right class of an image first.")
    return right


def answers_html(answers: Sequence[Answer], about: About, places: Mapping[Path, Sequence[str]] = {}) -> str:
    """The answers as cards, and the model that gave them; ``places``: where each file was, if that is not its path."""
    where = {each.file: places.get(each.file, [each.file.name]) for each in answers}
    cards = [{"answer": each, "place": ", ".join(where[each.file]), "picture": thumbnail(each.file)} for each in answers]
    title = count(len(answers), "answer") + (f" of version {about.version}" if about.version else "")
    return render("answers", cards=cards, title=title, about=about, one_class=ONE_CLASS, table=answers_csv(answers, where))


def answers_csv(answers: Sequence[Answer], places: Mapping[Path, Sequence[str]]) -> str:
    """The table of `mgclip predict --csv --branches`, with the places of the files."""
    rows = [[place, *row[1:]] for each in answers for place in places[each.file] for row in each.as_table(branches=True)]
    return csv_text([[*COLUMNS, *BRANCHES], *rows])
