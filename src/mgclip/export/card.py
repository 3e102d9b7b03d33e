"""The README.md of an exported model: what it knows, how it was trained, what was measured, how to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TypedDict, cast

import yaml

from mgclip._version import __version__
from mgclip.clip.adapters import adapters_have_effect
from mgclip.clip.family import family_of
from mgclip.clip.identity import base_name, hub_id
from mgclip.export.int8 import FASTER, SAME, Int8
from mgclip.export.merged import check_learned
from mgclip.markdown import as_markdown
from mgclip.method.analytic.calibration import by_share
from mgclip.method.analytic.decision import describe_decision
from mgclip.method.learner import MGCLIP
from mgclip.method.settings import RUNTIME_SETTINGS
from mgclip.saving.versions import lineage, shown
from mgclip.words import count

TAGS = ["mg-clip", "clip", "continual-learning", "class-incremental-learning"]
HIDDEN_SETTINGS = {"adapter_init", *RUNTIME_SETTINGS}
"""Settings that change only speed and memory, or name a file on the machine that trained the model."""


class NoteAccuracy(TypedDict, total=False):
    """Accuracy of a version on the classes it learned and on those before them, as shares of 1; None if not measured."""

    new: float | None
    old: float | None


class CardNote(TypedDict, total=False):
    """What is known of one version. ``time`` is in ISO format; ``classes`` are the names of the classes it learned."""

    version: int
    time: str
    what: str
    classes: Sequence[str]
    images: int
    epochs: int
    accuracy: NoteAccuracy


@dataclass(frozen=True)
class _SolvedFacts:
    """What the card says about a solved head. ``accuracy`` is that of ``tested`` images, each left out. The scatter of
    ``forgotten`` images is still in its sums.
    """

    images: int
    forgotten: int
    tested: int
    accuracy: float | None
    likeness: dict[str, float]


def model_card(
    model: MGCLIP,
    notes: Sequence[CardNote],
    *,
    onnx: bool = False,
    int8: Int8 | None = None,
    sizes: Mapping[str, int] | None = None,
) -> str:
    """The model card of an exported model as Markdown, with the YAML header that the hub reads.

    Args:
        model: The exported model.
        notes: A note for each version, oldest first.
        onnx: Whether ``model.onnx`` is in the folder of the card.
        int8: What was measured of ``model-int8.onnx``.
        sizes: Bytes of each file next to the card, if they are known.

    Raises:
        InputError: If the model has learned no class.
    """
    from jinja2 import Environment, StrictUndefined

    check_learned(model)
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters.update(count=count, escape=as_markdown, percent=_percent)
    template = environment.from_string((files("mgclip") / "export" / "card.md.j2").read_text(encoding="utf-8"))
    names = iter(model.class_names)
    measured = any(share is not None for note in notes for share in _accuracies(note))
    return template.render(
        header=_header(model),
        base=base_name(model.backbone),
        base_id=hub_id(model.backbone),
        fingerprint=model.backbone.fingerprint,
        tasks=[list(islice(names, size)) for size in model.task_sizes],
        model_classes=len(model.class_names),
        notes=[_cells(note) for note in notes],
        versions_measured=measured,
        model=model.settings,
        settings=_settings(model),
        solved=_solved_facts(model),
        adapted=bool(model.epochs) and adapters_have_effect(model.backbone),
        decided=_decided(model),
        threshold=model.settings.unknown_below if model.settings.uses_head else 0.0,
        epochs=model.epochs or 0,
        onnx=onnx,
        int8=int8,
        faster=FASTER,
        same=SAME,
        sizes=sizes,
        size=model.backbone.image_size,
        family=family_of(model.backbone.model),
        version=__version__,
    )


def version_notes(folder: Path) -> list[CardNote]:
    """The notes of the versions that led to the active one of a saved model, oldest first. Raises ``InputError`` if ``folder``
    is not a saved model.
    """
    return [cast("CardNote", {**shown(each.note), "version": each.number, "time": each.time}) for each in lineage(folder)]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _header(model: MGCLIP) -> str:
    header: dict[str, str | list[str]] = {"library_name": "transformers", "license": "other", "tags": TAGS}
    if (base := hub_id(model.backbone)) is not None:
        header["base_model"] = base
    text: str = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    return text


def _accuracies(note: CardNote) -> tuple[float | None, float | None]:
    accuracy = note.get("accuracy") or {}
    return accuracy.get("new"), accuracy.get("old")


def _cells(note: CardNote) -> list[str]:
    """A version in the table of the card; a dash for what its note does not contain."""
    classes, images = note.get("classes"), note.get("images")
    return [
        *(as_markdown(note.get(key, "–")) for key in ("version", "time", "what")),
        "–" if classes is None else str(len(classes)),
        as_markdown("–" if images is None else images),
        f"{images / len(classes):.3g}" if images is not None and classes else "–",
        as_markdown(note.get("epochs", "–")),
        *map(_percent, _accuracies(note)),
    ]


def _settings(model: MGCLIP) -> dict[str, object]:
    """The settings of the card, with the ``gamma`` and the ``representation`` that the first task decided."""
    found = {} if model.solved is None else {key: getattr(model.solved.fourier, key) for key in ("gamma", "representation")}
    return {**model.settings.model_dump(exclude=HIDDEN_SETTINGS), **found}


def _solved_facts(model: MGCLIP) -> _SolvedFacts | None:
    if (head := model.solved) is None:
        return None
    fit = head.calibration
    images, forgotten = round(head.sums.counts.sum().item()), round(head.sums.forgotten)
    return _SolvedFacts(images, forgotten, head.left_out, fit.accuracy, by_share(fit.likeness))


def _decided(model: MGCLIP) -> str:
    """What was decided about the adapters last, in one sentence; empty if nothing was."""
    evidence = None if model.solved is None else model.solved.evidence
    return describe_decision(evidence.decision) if evidence is not None and evidence.images else ""
