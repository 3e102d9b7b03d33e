"""What an export is held against: the model itself, computing in float32, on the same images."""

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
from mgclip.errors import MGCLIPError
from mgclip.method.learner import MGCLIP

TOLERANCE = 1e-4
"""An export may deviate so much from the model, in probabilities and in numbers of L2-normalised features; rounding explains
about 1e-6.
"""
BATCHES = (1, 2, 5)


def in_float32(model: MGCLIP) -> MGCLIP:
    """The same model, with the same weights in memory, computing in float32 whatever its settings say."""
    exact = copy.copy(model)
    exact.backbone = replace(model.backbone, compute=Compute())
    exact.encoder = Encoder(exact.backbone, prompt=model.settings.prompt, batch_size=model.settings.encode_batch_size)
    return exact


def sample_batches(model: MGCLIP) -> Iterator[list[Image.Image]]:
    """Batches of images of several sizes: noise over slopes of colour, neither square nor of the CLIP's own size."""
    rng = np.random.default_rng(0)
    width, height = model.backbone.image_size + 9, model.backbone.image_size + 2
    for size in BATCHES:
        slopes = np.linspace(rng.uniform(0, 255, (size, 1, 3)), rng.uniform(0, 255, (size, 1, 3)), width, axis=2)
        noise = rng.uniform(-60, 60, (size, height, width, 3))
        yield [Image.fromarray(array) for array in np.clip(slopes + noise, 0, 255).astype(np.uint8)]


def normalised(model: MGCLIP, images: list[Image.Image]) -> Tensor:
    """``pixel_values`` ``(n, 3, s, s)`` float32 as the CLIP's own processor makes them."""
    values: Tensor = model.backbone.processor(images, return_tensors="pt")["pixel_values"]
    return values.float()


def largest(deviations: list[Tensor]) -> float:
    """The largest absolute value of all; not a number where one of them is not."""
    return float(torch.cat([deviation.detach().cpu().flatten() for deviation in deviations]).abs().max())


def within_tolerance(deviation: float, what: str) -> float:
    """The deviation. Raises ``MGCLIPError`` where it is too large, or not a number."""
    if not deviation <= TOLERANCE:
        raise MGCLIPError(
            f"{what} deviates from the model by {deviation:.1e}, more than {TOLERANCE:.0e}, and is not kept: export with other "
            "versions of torch, transformers and onnxruntime."
        )
    return deviation


@torch.no_grad()
def check_export(model: MGCLIP, folder: Path) -> float:
    """Load an exported folder with transformers alone; the largest deviation of its features from the model's own.

    Compared are L2-normalised features: of sample images through the folder's own processor, and of all class texts through
    its own tokenizer. Raises ``MGCLIPError`` where it is more than 1e-4.
    """
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    exact, normalise = in_float32(model), torch.nn.functional.normalize
    clip = CLIPModel.from_pretrained(folder).eval()
    process, tokenizer = CLIPImageProcessorPil.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    deviations = []
    for images in sample_batches(model):
        own = exact.encoder.images(exact.encoder.pixels(images)).cpu()
        pooled = clip.vision_model(process(images, return_tensors="pt")["pixel_values"]).pooler_output
        deviations.append(normalise(clip.visual_projection(pooled), dim=-1) - own)
    longest = clip.config.text_config.max_position_embeddings
    for start in range(0, len(model.class_texts), model.settings.encode_batch_size):
        texts = model.class_texts[start : start + model.settings.encode_batch_size]
        prompts = [model.settings.prompt.format(text) for text in texts]
        tokens = tokenizer(prompts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        pooled = clip.text_model(**tokens).pooler_output
        deviations.append(normalise(clip.text_projection(pooled), dim=-1) - exact.encoder.texts(texts).cpu())
    return within_tolerance(largest(deviations), "The exported CLIP")
