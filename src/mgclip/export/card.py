"""The README.md of an exported model: what it knows, how it came about, what was measured, how to use it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

import yaml

from mgclip._version import __version__
from mgclip.export.merged import base_name, check_learned, hub_id
from mgclip.method.learner import MGCLIP
from mgclip.method.settings import COMPUTING

TAGS = ["mg-clip", "clip", "continual-learning", "class-incremental-learning"]
NOT_THE_METHODS = {"adapter_init", *COMPUTING}
"""Settings that change speed and memory, or name a file on the machine it was trained on."""

MARKUP = re.compile(r"[#$&*:<>@\[\\\]^_`{|}~]|\.(?=\w)")


def model_card(
    model: MGCLIP,
    notes: Sequence[Mapping[str, Any]],
    evaluation: Mapping[str, Any] | None = None,
    *,
    onnx: bool = False,
) -> str:
    """The model card as Markdown with the hub's YAML in front.

    ``notes``: for each version, all optional, ``version`` (int), ``time`` (ISO), ``what``, ``classes`` (names), ``images``,
    ``epochs``, and ``accuracy`` with ``new`` and ``old``, shares of 1 or None. ``evaluation``: ``data`` (its name), ``images``,
    ``accuracy``, a share of 1, and ``classes``, name -> accuracy, all optional. ``onnx``: ``model.onnx`` lies beside it.
    Raises ``InputError`` where nothing was learned.
    """
    from jinja2 import Environment, StrictUndefined

    check_learned(model)
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters.update(plain=plain, percent=_percent)
    template = environment.from_string((files("mgclip") / "export" / "card.md.j2").read_text(encoding="utf-8"))
    return template.render(
        header=_header(model),
        base=base_name(model.backbone),
        base_id=hub_id(model.backbone),
        fingerprint=model.backbone.fingerprint,
        tasks=list(_tasks(model)),
        count=len(model.class_names),
        prompt=model.settings.prompt,
        notes=[_note(note) for note in notes],
        measured=any(_note(note)["measured"] for note in notes) or "accuracy" in (evaluation or {}),
        evaluation=dict(evaluation or {}),
        settings={k: v for k, v in model.settings.model_dump().items() if k not in NOT_THE_METHODS},
        epochs=model.epochs,
        branches=model.settings.branches,
        fusion=model.settings.fusion,
        memory=model.settings.memory,
        onnx=onnx,
        size=model.backbone.image_size,
        version=__version__,
    )


def plain(value: object) -> str:
    """Any value as one line that neither Markdown nor HTML takes for markup: what could be, as character references."""
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return MARKUP.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _header(model: MGCLIP) -> str:
    header: dict[str, Any] = {"library_name": "transformers", "license": "other", "tags": TAGS}
    if (base := hub_id(model.backbone)) is not None:
        header["base_model"] = base
    text: str = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    return text


def _tasks(model: MGCLIP) -> Iterator[tuple[str, ...]]:
    """The names of each task's classes."""
    first = 0
    for size in model.task_sizes:
        yield model.class_names[first : first + size]
        first += size


def _note(note: Mapping[str, Any]) -> dict[str, Any]:
    """A version's row: what its note says, and dashes for what it does not."""
    classes, images, accuracy = note.get("classes"), note.get("images"), note.get("accuracy") or {}
    row = {key: note.get(key) for key in ("version", "time", "what", "images", "epochs")}
    row["classes"] = None if classes is None else len(classes)
    row["per_class"] = f"{images / len(classes):.3g}" if images is not None and classes else None
    row = {key: "–" if value is None else value for key, value in row.items()}
    new, old = accuracy.get("new"), accuracy.get("old")
    return {**row, "new": new, "old": old, "measured": new is not None or old is not None}
