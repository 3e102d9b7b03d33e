"""Times of predictions next to those of encoding the images (docs/performance.md)."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from typing_extensions import TypedDict

from mgclip.bench.passes import image_work, random_features
from mgclip.bench.shapes import make_backbone
from mgclip.bench.timing import Work, alternate
from mgclip.method.analytic.random_features import RandomFeatures
from mgclip.method.analytic.solved_head import SolvedHead
from mgclip.method.learner import MGCLIP
from mgclip.method.settings import Settings

HEADS = ("solved", "trained")
"""The kinds of heads whose predictions are timed."""


class HeadTimes(TypedDict):
    """Seconds of answering a batch of encoded images: class, confidence and likeness; and the five best classes.

    ``ratio`` is the time of encoding and answering, divided by that of encoding.
    """

    head: str
    classes: int
    classify: float
    best_five: float
    ratio: float


class PredictionTimes(TypedDict):
    """Seconds of encoding ``images`` images, and of answering with each kind of head."""

    images: int
    encode: float
    heads: list[HeadTimes]


def prediction_times(shape: str, *, classes: Sequence[int], batch: int, rounds: int) -> PredictionTimes:
    """Measure how much answering adds to encoding a batch of images, with the code that models use.

    Args:
        shape: A shape of ``SHAPES``.
        classes: Numbers of classes.
        batch: The number of images.
        rounds: Number of measurements, of which medians are taken.
    """
    model = MGCLIP(make_backbone(shape), Settings())
    features = random_features(batch, model.backbone)
    works: dict[str, Work] = {"encode": image_work(model.backbone, batch, train=False)}
    kinds = [(head, count) for head in HEADS for count in classes]
    for head, count in kinds:
        filled = with_random_classes(model, head, count)
        works[f"{head} {count} answers"] = partial(_answers, filled, features)
        works[f"{head} {count} best five"] = partial(_best_five, filled, features)
    found = {name: statistics.median(times) for name, times in alternate(works, rounds).items()}
    return {
        "images": batch,
        "encode": found["encode"],
        "heads": [
            {
                "head": head,
                "classes": count,
                "classify": (classify := found[f"{head} {count} answers"]),
                "best_five": found[f"{head} {count} best five"],
                "ratio": 1 + classify / found["encode"],
            }
            for head, count in kinds
        ],
    }


def _answers(model: MGCLIP, features: torch.Tensor) -> object:
    found = model.classify(features)
    return found.names, found.top_confidence, found.likeness


def _best_five(model: MGCLIP, features: torch.Tensor) -> object:
    return list(model.classify(features).top(5))


def with_random_classes(model: MGCLIP, head: str, classes: int) -> MGCLIP:
    """A copy of a model on the same CLIP, with random texts and a random head of a kind of ``HEADS``."""
    filled, backbone = copy.copy(model), model.backbone
    filled.encoder = copy.copy(model.encoder)
    filled.class_names = filled.class_texts = names = tuple(f"class number {i}" for i in range(classes))
    filled.encoder.remember_texts(names, random_features(classes, backbone))
    if head == "trained":
        filled.head = random_features(classes, backbone)
        return filled
    filled.settings = Settings(compensation="analytic", fusion="calibrated", adapt="never")
    fourier = RandomFeatures(backbone.feature_dim, filled.settings.features, gamma=1.0, seed=0)
    weights = torch.randn(fourier.width + 1, classes, dtype=torch.float64, device=backbone.device) / fourier.width
    filled.solved = replace(SolvedHead.empty(fourier, backbone.device), weights=weights)
    return filled
