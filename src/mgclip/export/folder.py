"""The complete export: an ordinary CLIP, optionally an ONNX file, the model card. Each is checked before the folder appears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgclip.export.card import CardNote, model_card
from mgclip.export.deviation import check_export
from mgclip.export.int8 import Int8, add_int8, compared
from mgclip.export.merged import check_learned, write_clip
from mgclip.export.new_folder import atomic_folder
from mgclip.export.onnx_file import check_onnx, export_onnx
from mgclip.method.learner import MGCLIP
from mgclip.while_inside import QUIET_TRANSFORMERS

ONNX, INT8, CARD = "model.onnx", "model-int8.onnx", "README.md"


@dataclass(frozen=True)
class Exported:
    """The files written with their bytes, and the largest deviations: of the CLIP's features and of the ONNX file's outputs.

    ``int8``: what was measured of the ONNX file with 8-bit weights, which is kept if it is worth it.
    """

    sizes: dict[str, int]
    deviation: float
    onnx_deviation: float | None
    int8: Int8 | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files."""
        return tuple(self.sizes)


def export_folder(
    model: MGCLIP,
    folder: Path,
    *,
    onnx: bool = False,
    images: Sequence[Any] = (),
    notes: Sequence[CardNote] = (),
) -> Exported:
    """Write a model for use without this package, completely or not at all.

    Args:
        model: The model; it is only read.
        folder: The folder to create; new or empty.
        onnx: Whether to write ``model.onnx`` too, and ``model-int8.onnx`` if that is worth it.
        images: Images on which both are compared; without them, they are generated.
        notes: A note for each version, for the model card.

    Returns:
        The files, and the deviations measured after writing.

    Raises:
        InputError: If the model has learned no class, ``folder`` is in use, the ``onnx`` extra is not installed, or one of
            ``images`` cannot be read.
        MGCLIPError: If the export deviates from the model by more than 1e-4.
    """
    check_learned(model)
    if onnx:
        check_onnx()
        images = compared(images)
    with QUIET_TRANSFORMERS, atomic_folder(folder) as target:
        write_clip(model, target)
        deviation = check_export(model, target)
        onnx_deviation = export_onnx(model, target / ONNX) if onnx else None
        int8 = add_int8(model, target / ONNX, target / INT8, images) if onnx else None
        card = model_card(model, notes, onnx=onnx, int8=int8, sizes=_sizes(target))
        (target / CARD).write_text(card, encoding="utf-8")
        sizes = _sizes(target)
    return Exported(sizes, deviation, onnx_deviation, int8)


def _sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
