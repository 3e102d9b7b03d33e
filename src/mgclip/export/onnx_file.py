"""A trained model as one ONNX graph: image tower, head, class texts and the method's fusion (docs/method.md 7)."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mgclip.errors import InputError, MGCLIPError, MissingExtra, first_line
from mgclip.export.deviation import in_float32, max_abs, pixel_values, require_within_tolerance, sample_batches
from mgclip.export.merged import check_learned, merged_clip, metadata
from mgclip.method.compensation import cosines
from mgclip.method.fusion import branch_probabilities
from mgclip.method.learner import MGCLIP

REQUIRED = ("onnx", "onnxscript", "onnxruntime")
ONE_FILE = 3 << 29
"""Weights up to this many bytes go into the ``.onnx`` file, whose limit is 2 GiB; larger ones are stored next to it."""


def check_onnx() -> None:
    """Raise ``MissingExtra`` if a library of the ``onnx`` extra is not installed."""
    if missing := [name for name in REQUIRED if find_spec(name) is None]:
        raise MissingExtra("onnx", missing[0])


class Classifier(torch.nn.Module):
    """Normalised pixels ``(b, 3, s, s)`` -> probabilities ``(b, classes)`` and L2-normalised features ``(b, d)``."""

    head: Tensor
    texts: Tensor

    def __init__(self, model: MGCLIP) -> None:
        super().__init__()
        clip = merged_clip(model.backbone)
        self.tower, self.projection, self.settings = clip.vision_model, clip.visual_projection, model.settings
        self.logit_scale = float(model.backbone.logit_scale)
        self.register_buffer("head", model.head.detach().float().cpu())
        self.register_buffer("texts", in_float32(model).encoder.texts(model.class_texts).cpu())
        self.eval()

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Predict with the branches that the settings select."""
        pooled = self.tower(pixel_values=pixel_values).pooler_output  # [b, 3, s, s] -> [b, w]
        features = torch.nn.functional.normalize(self.projection(pooled), dim=-1)  # [b, w] -> [b, d]
        logits = self.logit_scale * features @ self.texts.T
        return branch_probabilities(logits, cosines(features, self.head), self.settings), features


def export_onnx(model: MGCLIP, file: Path) -> float:
    """Write a model as an ONNX file, run it with onnxruntime, and compare it with the model.

    Input ``pixel_values`` ``(batch, 3, s, s)`` float32, normalised as the CLIP's processor does; outputs ``probabilities``
    ``(batch, classes)`` and ``image_features`` ``(batch, d)``. The class names are in its metadata.

    Args:
        model: The model; it is only read.
        file: The file to create.

    Returns:
        The largest deviation of its outputs from the model's own.

    Raises:
        InputError: If the model has learned no class, ``file`` exists, or the ``onnx`` extra is not installed.
        MGCLIPError: If the export fails, or deviates by more than 1e-4. The file is removed.
    """
    check_onnx()
    check_learned(model)
    if file.exists():
        raise InputError(f"{file} already exists: give another name, or remove it.")
    weights = file.with_name(f"{file.name}.data")
    try:
        _write(model, file)
        return require_within_tolerance(onnx_deviation(model, file), "The ONNX file")
    except BaseException:
        file.unlink(missing_ok=True)
        weights.unlink(missing_ok=True)
        raise


def _write(model: MGCLIP, file: Path) -> None:
    classifier, size = Classifier(model), model.backbone.image_size
    weight_bytes = sum(tensor.numel() * tensor.element_size() for tensor in classifier.state_dict().values())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about its own internals
            program: Any = torch.onnx.export(
                classifier,
                (torch.zeros(2, 3, size, size),),
                input_names=["pixel_values"],
                output_names=["probabilities", "image_features"],
                dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
                dynamo=True,
                verbose=False,
            )
            # The content of classes.json, each value as JSON, because an ONNX file stores strings only.
            program.model.metadata_props.update({key: json.dumps(value) for key, value in metadata(model).items()})
            program.save(str(file), external_data=weight_bytes > ONE_FILE)
    except Exception as error:  # the exporter raises many kinds of errors; each means that this CLIP cannot be exported
        raise MGCLIPError(
            f"The ONNX file cannot be written ({first_line(error)}): try another version of torch."
        ) from error


@torch.no_grad()
def onnx_deviation(model: MGCLIP, file: Path) -> float:
    """Run an ONNX file on batches of different sizes. Returns the largest deviation of its probabilities and features from the
    model's own.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    exact, deviations = in_float32(model), []
    for images in sample_batches(model):
        features = exact.encoder.images(exact.encoder.pixels(images))
        outputs = session.run(
            ["probabilities", "image_features"], {"pixel_values": pixel_values(model, images).numpy()}
        )
        for exported, expected in zip(outputs, (exact.probabilities(features), features), strict=True):
            deviations.append(torch.from_numpy(exported) - expected.cpu())
    return max_abs(deviations)
