"""A model as one ONNX graph: image tower, head, class texts and the fusion of both branches (docs/method.md 7, 10, 11)."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mgclip.clip.family import projections
from mgclip.clip.representation import represent
from mgclip.errors import InputError, MGCLIPError, MissingExtra, first_line
from mgclip.export.deviation import in_float32, max_abs, pixel_values, require_within_tolerance, sample_batches
from mgclip.export.merged import check_learned, head_tensors, merged_clip, metadata
from mgclip.method.analytic.scorer import TENSORS, Scorer
from mgclip.method.compensation import cosines
from mgclip.method.fusion import branch_probabilities, confidences
from mgclip.method.learner import MGCLIP
from mgclip.while_inside import NO_WARNINGS

REQUIRED = ("onnx", "onnxscript", "onnxruntime")
ONE_FILE = 3 << 29
"""Weights up to this many bytes go into the ``.onnx`` file, whose limit is 2 GiB; larger ones are stored next to it."""


def check_onnx() -> None:
    """Raise ``MissingExtra`` if a library of the ``onnx`` extra is not installed."""
    if missing := [name for name in REQUIRED if find_spec(name) is None]:
        raise MissingExtra("onnx", missing[0])


class Outputs(NamedTuple):
    """What the graph computes for each image.

    Attributes:
        probabilities: The method's own probabilities ``(b, classes)``.
        image_features: L2-normalised image features ``(b, d)``.
        confidence: Probabilities that are meant to be read, ``(b, classes)``.
        likeness: The largest score of the head ``(b,)``: low if an image belongs to no learned class.
        label: Position of the class with the largest confidence, ``(b,)``.
    """

    probabilities: Tensor
    image_features: Tensor
    confidence: Tensor
    likeness: Tensor
    label: Tensor


OUTPUTS = [*Outputs.__annotations__]


class Classifier(torch.nn.Module):
    """Normalised pixels ``(b, 3, s, s)`` -> ``Outputs``."""

    def __init__(self, model: MGCLIP) -> None:
        super().__init__()
        clip = merged_clip(model.backbone)
        self.tower, self.projection, self.settings = clip.vision_model, projections(clip)[0], model.settings
        self.logit_scale = float(model.backbone.logit_scale)
        self.calibration = None if model.solved is None else model.solved.calibration
        self.representation = model.encoder.representation
        for name, tensor in head_tensors(model).items():
            self.register_buffer(name, tensor)
        self.eval()

    def forward(self, pixel_values: Tensor) -> Outputs:
        """Predict with the branches that the settings select."""
        pooled = self.tower(pixel_values=pixel_values).pooler_output  # [b, 3, s, s] -> [b, w]
        projected = self.projection(pooled)  # [b, w] -> [b, d]
        features = torch.nn.functional.normalize(projected, dim=-1)
        scores = self._scores(represent(projected, pooled, self.representation))
        logits = self.logit_scale * features @ self.get_buffer("texts").T
        found = branch_probabilities(logits, scores, self.settings, self.calibration)
        confidence = confidences(found, self.logit_scale, self.settings, self.calibration).float()
        return Outputs(found, features, confidence, scores.amax(-1), confidence.argmax(-1))

    def _scores(self, features: Tensor) -> Tensor:
        if self.calibration is None:
            return cosines(features, self.get_buffer("rows"))
        matrix, shift, weights, constant = map(self.get_buffer, TENSORS)
        return Scorer(matrix, shift, weights, constant, self.settings.kernel).scores(features)


def export_onnx(model: MGCLIP, file: Path) -> float:
    """Write a model as an ONNX file, run it with onnxruntime, and compare it with the model.

    Input ``pixel_values`` ``(batch, 3, s, s)`` float32, normalised as the CLIP's processor does; outputs as in
    ``Outputs``. The class names are in its metadata.

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


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings and log messages of the exporter, which are about its own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with NO_WARNINGS:
            yield
    finally:
        logging.disable(before)


def _write(model: MGCLIP, file: Path) -> None:
    classifier, size = Classifier(model), model.backbone.image_size
    weight_bytes = sum(tensor.numel() * tensor.element_size() for tensor in classifier.state_dict().values())
    try:
        with quiet():
            program: Any = torch.onnx.export(
                classifier,
                (torch.zeros(2, 3, size, size),),
                input_names=["pixel_values"],
                output_names=OUTPUTS,
                dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
                dynamo=True,
                verbose=False,
            )
            # The content of classes.json, each value as JSON, because an ONNX file stores strings only.
            program.model.metadata_props.update({key: json.dumps(value) for key, value in metadata(model).items()})
            program.save(str(file), external_data=weight_bytes > ONE_FILE)
    except Exception as error:  # the exporter raises many kinds of errors; each means that this CLIP cannot be exported
        raise MGCLIPError(f"The ONNX file cannot be written ({first_line(error)}): try another version of torch.") from error


@torch.no_grad()
def onnx_deviation(model: MGCLIP, file: Path) -> float:
    """Run an ONNX file on batches of different sizes and compare its outputs with the model's own.

    Confidences must follow from the probabilities of the file: CLIP's logit scale makes rounding a hundred times larger. The
    class of an image deviates by what the model's probability of it lacks to the largest one.

    Returns:
        The largest deviation.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    exact, deviations = in_float32(model), []
    scale, calibration = float(model.backbone.logit_scale), None if model.solved is None else model.solved.calibration
    for images in sample_batches(model):
        features = exact.encoder.images(exact.encoder.pixels(images))
        probabilities, likeness = exact.probabilities(features).cpu(), exact.head_scores(features).amax(1).cpu()
        run = session.run(OUTPUTS, {"pixel_values": pixel_values(model, images).numpy()})
        found = Outputs(*map(torch.from_numpy, run))
        deviations += [
            found.probabilities - probabilities,
            found.image_features - exact.encoder.in_text_space(features).cpu(),
            found.confidence - confidences(found.probabilities, scale, model.settings, calibration),
            found.likeness - likeness,
            probabilities.amax(1) - probabilities.gather(1, found.label[:, None])[:, 0],
        ]
    return max_abs(deviations)
