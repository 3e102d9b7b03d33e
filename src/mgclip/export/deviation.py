"""Compare an export with its model, which computes in float32 on the same images."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mgclip.clip.compute import Compute
from mgclip.clip.encoder import Encoder
from mgclip.clip.family import family_of, load_processor, load_tokenizer, model_class, projections
from mgclip.errors import MGCLIPError
from mgclip.method.learner import MGCLIP

TOLERANCE = 1e-4
"""Largest allowed deviation of probabilities and of L2-normalised features. Rounding explains about 1e-6."""
BATCH_SIZES = (1, 2, 5)


def in_float32(model: MGCLIP) -> MGCLIP:
    """A copy of the model that shares its weights and computes in float32, whatever its settings."""
    exact = copy.copy(model)
    exact.backbone = replace(model.backbone, compute=Compute())
    exact.encoder = Encoder(
        exact.backbone,
        prompt=model.settings.prompt,
        batch_size=model.settings.encode_batch_size,
        representation=model.encoder.representation,
    )
    return exact


def sample_batches(model: MGCLIP) -> Iterator[list[Image.Image]]:
    """Batches of sample images, of different sizes."""
    images = iter(sample_images(model, sum(BATCH_SIZES)))
    for size in BATCH_SIZES:
        yield [next(images) for _ in range(size)]


def sample_images(model: MGCLIP, number: int) -> list[Image.Image]:
    """Colour gradients with noise, not square and not of the CLIP's own size."""
    rng = np.random.default_rng(0)
    width, height = model.backbone.image_size + 9, model.backbone.image_size + 2
    images = []
    for _ in range(number):
        slope = np.linspace(rng.uniform(0, 255, (1, 3)), rng.uniform(0, 255, (1, 3)), width, axis=1)
        noise = rng.uniform(-60, 60, (height, width, 3))
        images.append(Image.fromarray(np.clip(slope + noise, 0, 255).astype(np.uint8)))
    return images


def pixel_values(model: MGCLIP, images: list[Image.Image]) -> Tensor:
    """``pixel_values`` ``(n, 3, s, s)`` float32 from the CLIP's own processor."""
    values: Tensor = model.backbone.processor(images, return_tensors="pt")["pixel_values"]
    return values.float()


def max_abs(deviations: list[Tensor]) -> float:
    """The largest absolute value in all tensors; NaN if any value is NaN."""
    return float(torch.cat([deviation.detach().cpu().flatten() for deviation in deviations]).abs().max())


def require_within_tolerance(deviation: float, what: str) -> float:
    """Return the deviation if it is at most ``TOLERANCE``. Raises ``MGCLIPError`` if it is larger, or NaN."""
    if not deviation <= TOLERANCE:
        raise MGCLIPError(
            f"{what} deviates from the model by {deviation:.1e}, more than {TOLERANCE:.0e}, and is not kept: export with other "
            "versions of torch, transformers and onnxruntime."
        )
    return deviation


@torch.no_grad()
def check_export(model: MGCLIP, folder: Path) -> float:
    """Load an exported folder with transformers alone. Returns the largest deviation of its L2-normalised features from the
    model's.

    Sample images go through the folder's own processor, all class texts through its own tokenizer. Raises ``MGCLIPError`` if
    the deviation is more than ``TOLERANCE``.
    """
    exact, normalise = in_float32(model), torch.nn.functional.normalize
    family = family_of(model.backbone.model)
    clip = model_class(family).from_pretrained(folder).eval()
    process, tokenizer = load_processor(family, folder), load_tokenizer(family, folder)
    of_images, of_texts = projections(clip)
    deviations = []
    for images in sample_batches(model):
        expected = exact.encoder.in_text_space(exact.encoder.images(exact.encoder.pixels(images))).cpu()
        pooled = clip.vision_model(process(images, return_tensors="pt")["pixel_values"]).pooler_output
        deviations.append(normalise(of_images(pooled), dim=-1) - expected)
    longest = clip.config.text_config.max_position_embeddings
    for start in range(0, len(model.class_texts), model.settings.encode_batch_size):
        texts = model.class_texts[start : start + model.settings.encode_batch_size]
        prompts = [template.format(text) for text in texts for template in model.settings.templates]
        padding = "longest" if family.causal else "max_length"
        tokens = tokenizer(prompts, padding=padding, truncation=True, max_length=longest, return_tensors="pt")
        pooled = clip.text_model(**tokens).pooler_output
        features = normalise(of_texts(pooled), dim=-1).unflatten(0, (len(texts), -1)).mean(1)  # [c t, d] -> [c, d]
        deviations.append(normalise(features, dim=-1) - exact.encoder.texts(texts).cpu())
    return require_within_tolerance(max_abs(deviations), "The exported CLIP")
