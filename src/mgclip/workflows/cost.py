"""Estimate how long learning will take and how much memory it needs, from a few images that are encoded now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mgclip.clip.adapters import adapters_have_effect
from mgclip.clip.ambient import in_ordinary_modes
from mgclip.clip.compute import SAVED_PER_WIDTH, tokens_of
from mgclip.clip.pixels import KEEP_BYTES
from mgclip.method.analytic.learned_images import SAMPLE
from mgclip.method.analytic.ridge import traces_of
from mgclip.method.analytic.solving import trains_adapters
from mgclip.method.analytic.sums import CHUNK
from mgclip.method.learner import MGCLIP
from mgclip.words import duration

TRAINING_COST = 2.3
"""Cost of the forward and backward pass of an image, relative to encoding it (docs/performance.md)."""
TYPICAL_EPOCHS = 3
"""Epochs assumed until the probe has found their number. With the epochs of the probe itself, 3 make 7; 1 to 10 make 3 to 20."""
ENOUGH_SECONDS = 0.5
"""If encoding the first images took less time than this, more are encoded for the estimate."""
FIRST, MOST = 16, 128
"""Images that are encoded for the estimate at first, and if that was quick."""
SOLVED_SIDE = 1024
"""Size of the matrix that is inverted for the estimate. The time grows with its third power."""
RIDGES_TRIED = 4
"""The typical number of ridges whose errors the search for the best one computes."""
MATRICES = 10
"""Matrices of the size of the solved head's that exist at once while it is solved."""
CALIBRATION_SECONDS = 1e-6
"""Time to fit the weights of both branches, per image of the sample and per class."""
HEAD_STEP_SECONDS = 1.5e-3
"""Time of one step that trains the head."""
SAVING_SECONDS = 0.5
"""Time to save a version."""
VALUES_PER_WIDTH = 12
"""Values per token that encoding keeps in memory, in units of the width of the tower."""


@dataclass(frozen=True)
class Cost:
    """What learning is expected to take.

    Attributes:
        seconds: Time from the plan to the saved version.
        memory: Peak memory in bytes.
        per_image: Seconds to open and encode one image.
        after_training: The part of ``seconds`` after the adapters are trained.
        trains: Whether adapters are trained.
        span: ``seconds`` if the probe finds the fewest and the most epochs; None if their number is known.
    """

    seconds: float
    memory: float
    per_image: float
    after_training: float
    trains: bool
    span: tuple[float, float] | None = None


def describe_time(cost: Cost) -> str:
    """The time in words, with what it depends on: ``about 3 min (2 to 9 min, depending on the epochs that the probe finds)``."""
    about = f"about {duration(max(1.0, cost.seconds))}"
    if cost.span is None:
        return about
    least, most = (duration(max(1.0, seconds)) for seconds in cost.span)
    return f"{about} ({least} to {most}, depending on the epochs that the probe finds)"


@dataclass(frozen=True)
class Amounts:
    """How much is learned and measured.

    Attributes:
        train: Training images.
        classes: Their classes.
        tests: Images to measure on, of these classes.
        old: Held-out images of earlier classes.
        retention: Images of classes never trained on.
    """

    train: int
    classes: int
    tests: int = 0
    old: int = 0
    retention: int = 0


@in_ordinary_modes
@torch.no_grad()
def estimate(model: MGCLIP, sample: Sequence[Path], texts: Sequence[str], amounts: Amounts) -> Cost:
    """Estimate the cost of learning, by encoding some images and texts now.

    Args:
        model: The model that will learn.
        sample: The images to learn, of which some are encoded, evenly spaced.
        texts: What prompts call the classes to learn.
        amounts: How much is learned and measured.

    Raises:
        InputError: If one of the encoded images cannot be read.
    """
    opening, encoding = _seconds_per_image(model, sample)
    settings, n, measured = model.settings, amounts.train, amounts.tests + amounts.old
    each_bytes = 3 * model.backbone.image_size**2
    adapted = adapters_have_effect(model.backbone)
    probed, epochs = _epochs(model, amounts.classes)
    replayed = n + (0 if model.memory is None else len(model.memory.labels))
    again = max(0, n - KEEP_BYTES // each_bytes)  # images that do not fit in memory are opened again in each epoch

    def training(probed: int, epochs: int) -> float:
        probing = 1 + probed if probed else 0  # the probe measures before its first epoch and after each one
        return probing * n * encoding + (probed + epochs) * (replayed * TRAINING_COST * encoding + again * opening)

    head = n * encoding if settings.uses_head or settings.compensation == "analytic" else 0.0
    passes = measured * (1 + adapted + (epochs > 0)) + 2 * amounts.retention
    solving = _solving_seconds(model, amounts) + _text_seconds(model, texts)
    after = head + passes * encoding + solving + SAVING_SECONDS
    others = _extra_passes(model) * n * encoding + after + (n + measured + amounts.retention) * opening
    span = (others + training(*_probed(model, 1)), others + training(*_probed(model, settings.max_epochs))) if probed else None
    memory = _memory(model, amounts, each_bytes, epochs)
    return Cost(others + training(probed, epochs), memory, opening + encoding, after, epochs > 0, span)


def _epochs(model: MGCLIP, classes: int) -> tuple[int, int]:
    """The epochs of the probe and of the adapter phase; if the probe has not found them yet, ``TYPICAL_EPOCHS`` are assumed."""
    settings = model.settings
    adapts = trains_adapters(settings, model.solved, tasks=len(model.task_sizes))
    if not adapts or (classes == 1 and not settings.memory):  # a single class trains no adapters
        return 0, 0
    if model.epochs is not None:
        return 0, model.epochs
    return _probed(model, TYPICAL_EPOCHS)


def _probed(model: MGCLIP, epochs: int) -> tuple[int, int]:
    """The epochs of the probe and of the adapter phase if the probe finds ``epochs``: it stops after the first one too many."""
    most = model.settings.max_epochs
    return min(epochs + 1, most), min(epochs, most)


def _extra_passes(model: MGCLIP) -> int:
    """How many more times the images are encoded, to move stored features with the adapters and to decide about the adapters."""
    head = model.solved
    undecided = model.settings.adapt == "auto" if head is None else head.frozen is not None
    return (head is not None and head.bank is not None) + undecided


def _seconds_per_image(model: MGCLIP, sample: Sequence[Path]) -> tuple[float, float]:
    """Seconds to open and to encode an image. If a GPU encodes, opening the next images costs time only beyond that."""
    pixels = model.encoder.pixels(sample, keep_bytes=0)
    model.backbone.image_features(pixels.batch(torch.tensor([0])))  # the first pass is slower, so it is not timed
    for few in (FIRST, MOST):
        chosen = torch.arange(len(sample))[:: max(1, len(sample) // few)][:few]
        begun = time.perf_counter()
        batch = pixels.batch(chosen)
        opened = time.perf_counter()
        model.backbone.image_features(batch).cpu()  # a GPU has finished when its result is here
        done = time.perf_counter()
        opening, encoding = (opened - begun) / len(chosen), (done - opened) / len(chosen)
        if done - begun > ENOUGH_SECONDS or len(chosen) == len(sample):
            break
    return (max(0.0, opening - encoding) if model.backbone.device.type == "cuda" else opening), encoding


def _text_seconds(model: MGCLIP, texts: Sequence[str]) -> float:
    few = texts[:FIRST]
    begun = time.perf_counter()
    model.encoder.texts(few).cpu()
    return (time.perf_counter() - begun) / len(few) * len(texts)


def _solving_seconds(model: MGCLIP, amounts: Amounts) -> float:
    settings, classes = model.settings, amounts.classes + len(model.class_names)
    if settings.compensation != "analytic":
        steps = settings.head_epochs * -(-amounts.train // settings.head_batch_size) * (amounts.classes > 1)
        return settings.uses_head * steps * HEAD_STEP_SECONDS
    width, device = settings.features + 1, model.backbone.device
    rows = torch.rand(256, width, dtype=torch.float64, device=device)
    some = rows[:, :SOLVED_SIDE]
    square = some.T @ some
    begun = time.perf_counter()
    (rows.T @ rows.cos())[0].cpu()
    summed = time.perf_counter()
    traces_of(square, 1.0, some.T, outer=False)
    solved = RIDGES_TRIED * (time.perf_counter() - summed)
    images: float = (summed - begun) / len(rows) * amounts.train
    calibrated = min(SAMPLE, amounts.train) * classes * CALIBRATION_SECONDS
    return images + float(solved * (width / len(square)) ** 3) + calibrated


def _memory(model: MGCLIP, amounts: Amounts, each_bytes: int, epochs: int) -> float:
    """The memory that the process uses now, and what learning adds: kept images, activations and the solved head."""
    settings, vision = model.settings, model.backbone.model.config.vision_config
    others = amounts.tests + amounts.old + amounts.retention
    kept = sum(min(KEEP_BYTES, count * each_bytes) for count in (amounts.train, others))
    tokens = tokens_of(vision)
    activations = model.backbone.images_per_pass(settings.encode_batch_size) * tokens * vision.hidden_size * 4 * VALUES_PER_WIDTH
    if epochs:
        each = tokens * vision.hidden_size * 4 * vision.num_hidden_layers * SAVED_PER_WIDTH
        activations = max(activations, each * min(settings.adapter_batch_size, model.backbone.compute.micro_batch))
    solved = 0
    if settings.compensation == "analytic":
        width = settings.features + 1
        solved = 8 * width * (MATRICES * width + 3 * min(CHUNK, amounts.train))
    return float(_memory_now(model) + kept + activations + solved + 8 * amounts.train * model.backbone.feature_dim)


def _memory_now(model: MGCLIP) -> float:
    """Resident bytes of this process; without ``/proc``, those of the weights and a guess for PyTorch."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="utf-8").splitlines()
        return 1024.0 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
    weights: int = sum(weight.numel() for weight in model.backbone.model.parameters())
    return 4.0 * weights + 5e8
