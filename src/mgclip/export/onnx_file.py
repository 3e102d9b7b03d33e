"""A trained model as one ONNX graph: image tower, head, class texts and the method's fusion (docs/method.md 7)."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mgclip.errors import InputError, MGCLIPError, MissingExtra
from mgclip.export.exact import in_float32, largest, normalised, sample_batches, within_tolerance
from mgclip.export.merged import check_learned, description, plain_clip
from mgclip.method.compensation import cosines
from mgclip.method.fusion import branch_probabilities
from mgclip.method.learner import MGCLIP

NEEDED = ("onnx", "onnxscript", "onnxruntime")
ONE_FILE = 3 << 29
"""Weights up to this many bytes go into the ``.onnx`` file itself, which cannot exceed 2 GiB; more lie beside it."""


def check_onnx() -> None:
    """See that the libraries of the extra are there. Raises ``MissingExtra`` saying how to install them."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise MissingExtra("onnx", missing[0])


class Classifier(torch.nn.Module):
    """Normalised pixels ``(b, 3, s, s)`` -> probabilities ``(b, classes)`` and L2-normalised features ``(b, d)``."""

    head: Tensor
    texts: Tensor

    def __init__(self, model: MGCLIP) -> None:
        super().__init__()
        clip = plain_clip(model.backbone)
        self.tower, self.projection, self.settings = clip.vision_model, clip.visual_projection, model.settings
        self.logit_scale = float(model.backbone.logit_scale)
        self.register_buffer("head", model.head.detach().float().cpu())
        self.register_buffer("texts", in_float32(model).encoder.texts(model.class_texts).cpu())
        self.eval()

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from the branches that the settings name."""
        pooled = self.tower(pixel_values=pixel_values).pooler_output  # [b, 3, s, s] -> [b, w]
        features = torch.nn.functional.normalize(self.projection(pooled), dim=-1)  # [b, w] -> [b, d]
        logits = self.logit_scale * features @ self.texts.T
        return branch_probabilities(logits, cosines(features, self.head), self.settings), features


def export_onnx(model: MGCLIP, file: Path) -> float:
    """Write a model as an ONNX file; the largest deviation of its outputs from the model's own.

    Input ``pixel_values`` ``(batch, 3, s, s)`` float32, normalised as the CLIP's processor does; outputs ``probabilities``
    ``(batch, classes)`` and ``image_features`` ``(batch, d)``. Class names are in its metadata. It is always run and compared;
    where it deviates by more than 1e-4 the file is removed and ``MGCLIPError`` raised. Raises ``InputError`` where nothing was
    learned, something is at ``file`` already, or the extra is not installed.
    """
    check_onnx()
    check_learned(model)
    if file.exists():
        raise InputError(f"{file} exists already: give another name, or remove it.")
    weights = file.with_name(f"{file.name}.data")
    try:
        _write(model, file)
        return within_tolerance(onnx_deviation(model, file), "The ONNX file")
    except BaseException:
        file.unlink(missing_ok=True)
        weights.unlink(missing_ok=True)
        raise


def _write(model: MGCLIP, file: Path) -> None:
    classifier, size = Classifier(model), model.backbone.image_size
    held = sum(tensor.numel() * tensor.element_size() for tensor in classifier.state_dict().values())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about itself
            program: Any = torch.onnx.export(
                classifier,
                (torch.zeros(2, 3, size, size),),
                input_names=["pixel_values"],
                output_names=["probabilities", "image_features"],
                dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
                dynamo=True,
                verbose=False,
            )
            program.model.metadata_props.update(_metadata(model))
            program.save(str(file), external_data=held > ONE_FILE)
    except Exception as error:  # the exporter raises a dozen kinds: all mean that this CLIP cannot be written
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise MGCLIPError(f"The ONNX file cannot be made ({reason}): try another version of torch.") from error


def _metadata(model: MGCLIP) -> dict[str, str]:
    """What ``classes.json`` says, each value as JSON: an ONNX file's metadata are texts."""
    return {key: json.dumps(value) for key, value in description(model).items()}


@torch.no_grad()
def onnx_deviation(model: MGCLIP, file: Path) -> float:
    """Run an ONNX file on batches of several sizes; the largest deviation from the model's own probabilities and features."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    exact, deviations = in_float32(model), []
    for images in sample_batches(model):
        features = exact.encoder.images(exact.encoder.pixels(images))
        found = session.run(["probabilities", "image_features"], {"pixel_values": normalised(model, images).numpy()})
        for theirs, own in zip(found, (exact.probabilities(features), features), strict=True):
            deviations.append(torch.from_numpy(theirs) - own.cpu())
    return largest(deviations)
