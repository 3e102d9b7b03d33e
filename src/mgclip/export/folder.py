"""The whole export: a plain CLIP, if wanted an ONNX file, the model card; each checked before the folder takes its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgclip.export.card import model_card
from mgclip.export.exact import check_export
from mgclip.export.merged import check_learned, write_clip
from mgclip.export.onnx_file import check_onnx, export_onnx
from mgclip.export.place import whole_folder
from mgclip.method.learner import MGCLIP

ONNX, CARD = "model.onnx", "README.md"


@dataclass(frozen=True)
class Exported:
    """What was written, and the largest deviations from the model: of the CLIP's features, and of the ONNX file's outputs."""

    files: tuple[str, ...]
    deviation: float
    onnx_deviation: float | None


def export_folder(
    model: MGCLIP,
    folder: Path,
    *,
    onnx: bool = False,
    notes: Sequence[Mapping[str, Any]] = (),
    evaluation: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a model for use without this package, whole or not at all; ``notes`` and ``evaluation`` are the card's.

    Raises ``InputError`` where nothing was learned, something is at ``folder`` already, or the extra for ONNX is missing;
    ``MGCLIPError`` where what was written deviates from the model by more than 1e-4.
    """
    check_learned(model)
    if onnx:
        check_onnx()
    with whole_folder(folder) as place:
        write_clip(model, place)
        deviation = check_export(model, place)
        onnx_deviation = export_onnx(model, place / ONNX) if onnx else None
        (place / CARD).write_text(model_card(model, notes, evaluation, onnx=onnx), encoding="utf-8")
        files = tuple(sorted(file.name for file in place.iterdir()))
    return Exported(files, deviation, onnx_deviation)
