"""Times of this package and of a naive implementation on this machine, per unit of work and composed over a stream.

The units of both run in turn, so that a machine that slows down slows both (docs/performance.md).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import torch
from typing_extensions import NotRequired, TypedDict

from mgclip.bench.flops import image_flops
from mgclip.bench.memory import Peak
from mgclip.bench.passes import full_length_tokens, head_work, image_work, text_work
from mgclip.bench.precision import PrecisionSpeed
from mgclip.bench.prediction import PredictionTimes
from mgclip.bench.shapes import make_both, make_config
from mgclip.bench.stream import HEAD_BATCH, Comparison, Stream, Units, compose
from mgclip.bench.timing import Work, alternate, matmul_peak
from mgclip.clip.backbone import Backbone
from mgclip.clip.parallel import device_name, local_device
from mgclip.method.settings import Settings

TEXTS = 100
"""Texts per measured pass. The time of more texts is computed in proportion."""


class BenchResult(TypedDict):
    """What ``mgclip bench`` reports; ``ours`` is this package, ``plain`` the naive implementation."""

    shape: str
    device: str
    stream: dict[str, int]
    rounds: int
    images: int
    threads: int
    matmul_peak: float
    images_per_second: dict[str, float]
    share_of_peak: dict[str, float]
    units: dict[str, dict[str, float]]
    composed: dict[str, Comparison]
    prediction: NotRequired[PredictionTimes]
    precisions: NotRequired[list[PrecisionSpeed]]
    peak_memory: NotRequired[Peak]


def measure_units(shape: str, stream: Stream, *, rounds: int, images: int) -> dict[str, dict[str, list[float]]]:
    """Measure every unit of work.

    Args:
        shape: A shape of ``SHAPES``.
        stream: Its classes per task decide how many texts and rows of the head a training step has.
        rounds: Number of measurements.
        images: Images per pass. The time of one image is its share of a pass.

    Returns:
        For each unit the seconds in each round, by ``ours`` and ``plain``.
    """
    backbone, naive = make_both(shape)
    prompts = [Settings().templates[0].format(f"class number {i}") for i in range(TEXTS)]
    trained = min(stream.classes, TEXTS)  # this package trains on the texts of one task only
    full = full_length_tokens(naive, prompts)

    def both(make: Callable[[Backbone], Work], share: int) -> tuple[tuple[Work, int], tuple[Work, int]]:
        return (make(backbone), share), (make(naive), share)

    works = {
        "image_trained": both(lambda b: image_work(b, images, train=True), images),
        "image": both(lambda b: image_work(b, images, train=False), images),
        "texts_trained": (
            (text_work(backbone, backbone.tokenize(prompts[:trained]), train=True), trained),
            (text_work(naive, full, train=True), TEXTS),
        ),
        "texts": (
            (text_work(backbone, backbone.tokenize(prompts), train=False), TEXTS),
            (text_work(naive, full, train=False), TEXTS),
        ),
        "head": both(lambda b: head_work(b, stream.classes, HEAD_BATCH), 1),
    }
    result = {}
    for name, ((work, share), (naive_work, naive_share)) in works.items():
        times = alternate({"ours": work, "plain": naive_work}, rounds)
        result[name] = {
            "ours": [time / share for time in times["ours"]],
            "plain": [time / naive_share for time in times["plain"]],
        }
    return result


def bench(shape: str, stream: Stream, *, rounds: int, images: int) -> BenchResult:
    """Measure a shape in float32 and compose a stream; see ``measure_units`` for the arguments."""
    peak = matmul_peak("float32", rounds)
    units = measure_units(shape, stream, rounds=rounds, images=images)

    def in_round(k: int, who: str) -> Units:
        return Units(**{field.name: units[field.name][who][k] for field in fields(Units)})

    medians = {name: {who: statistics.median(t) for who, t in times.items()} for name, times in units.items()}
    trained, encoded = medians["image_trained"]["ours"], medians["image"]["ours"]
    config: Any = make_config(shape)
    return {
        "shape": shape,
        "device": device_name(local_device()),
        "stream": asdict(stream),
        "rounds": rounds,
        "images": images,
        "threads": torch.get_num_threads(),
        "matmul_peak": peak,
        "images_per_second": {"training": 1 / trained, "encoding": 1 / encoded},
        "share_of_peak": {
            "training": image_flops(config, training=True) / trained / peak,
            "encoding": image_flops(config, training=False) / encoded / peak,
        },
        "units": medians,
        "composed": compose(stream, [(in_round(k, "ours"), in_round(k, "plain")) for k in range(rounds)]),
    }
