"""How the studio looks: its theme, its style sheet, and the templates of its HTML, which escape every name."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from itertools import count as counting
from typing import Any

import gradio as gr
from jinja2 import Environment, PackageLoader, StrictUndefined

from mgclip.words import count

STYLE = "style.css"
FORMS = "forms.js"
DROP = "drop.js"
HEARD = "heard.js"
LIVE = "element.setAttribute('aria-live', 'polite')"
"""Screen readers say what appears in a live region, if it was one before."""


def theme() -> gr.themes.Base:
    """The theme: fonts of the system, so that nothing is fetched, and one accent colour."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        input_background_fill="white",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_label_text_weight="500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
    )


def text_of(name: str) -> str:
    """The text of a file next to this module."""
    return (files("mgclip.app.studio") / name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    loader = PackageLoader("mgclip.app.studio", "templates")
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.globals["count"] = count
    found.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    return found


def render(template: str, **content: Any) -> str:
    """The HTML of a template."""
    return _templates().get_template(f"{template}.html.j2").render(**content)


def area(name: str, value: str = "", *, kind: str = "", forms: bool = False, heard: bool = False) -> gr.HTML:
    """A part of the page that the studio writes as HTML.

    Args:
        name: Its id.
        value: Its first content.
        kind: A further class for the style sheet; an ``outcome`` takes no space while it is empty, and is read out.
        forms: Whether it has forms: sending one triggers ``submit`` with the data of the event in ``form``.
        heard: Whether the parts that its templates mark ``data-heard`` are read out.
    """
    scripts = [text_of(FORMS)] * forms + [text_of(HEARD)] * heard + [LIVE] * (kind == "outcome")
    return gr.HTML(
        value,
        elem_id=name,
        elem_classes=["area", kind],
        apply_default_css=False,
        padding=False,
        js_on_load="\n".join(scripts) or None,
    )


def scroll_to(name: str) -> str:
    """A script that brings a part of the page into view: a message is above a list that can be longer than the screen."""
    return f"() => requestAnimationFrame(() => document.getElementById('{name}').scrollIntoView({{ block: 'center' }}))"


_numbers = counting(1)


def message(text: str, *, error: bool = False) -> str:
    """A sentence for the person at the page; nothing if it is empty.

    Each has another number: the page is brought up to date when its message changes, which the same sentence again would not do.
    """
    return render("message", text=text, error=error, number=next(_numbers)) if text else ""
