"""Times of this package and of a naive implementation on this machine, per unit of work and composed over a stream.

The units of both run in turn, so that a machine that slows down slows both (docs/performance.md).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from typing_extensions import NotRequired, TypedDict

from mgclip.bench.flops import image_flops
from mgclip.bench.memory import Peak
from mgclip.bench.shapes import make_backbone, make_config
from mgclip.bench.stream import HEAD_BATCH, Comparison, Stream, Units, compose
from mgclip.clip.adapters import adapter_weights
from mgclip.clip.backbone import Backbone
from mgclip.clip.compute import DTYPES, Precision
from mgclip.clip.parallel import device_name, local_device
from mgclip.method.compensation import cosines
from mgclip.method.prepare import prepare
from mgclip.method.settings import Settings

if TYPE_CHECKING:
    from mgclip.bench.precision import PrecisionSpeed
    from mgclip.bench.prediction import PredictionTimes

TEXTS = 100
"""Texts per measured pass. The time of more texts is computed in proportion."""

Work = Callable[[], object]


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


def seconds(work: Work) -> float:
    """The time of one call, including the work that it leaves to a GPU."""
    wait_for_gpu()
    start = time.perf_counter()
    work()
    wait_for_gpu()
    return time.perf_counter() - start


def wait_for_gpu() -> None:
    """Wait until the GPU, if this process uses one, has finished its work."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def alternate(works: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work in each round. All run in turn, after one warm-up each."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    return times


def matmul_peak(precision: Precision = "float32", rounds: int = 5) -> float:
    """Operations per second of a matrix multiplication on this device: the best of several large square products."""
    device = local_device()
    size = 8192 if device.type == "cuda" else 4096
    a, b = (torch.randn(size, size, device=device).to(DTYPES[precision]) for _ in range(2))
    torch.mm(a, b)
    return float(2 * size**3 / min(seconds(lambda: torch.mm(a, b)) for _ in range(rounds)))


def image_work(backbone: Backbone, count: int, *, train: bool) -> Work:
    """A pass of ``count`` images; with ``train``, also the backward pass to the adapters."""
    pixels = torch.randint(0, 256, (count, 3, backbone.image_size, backbone.image_size), dtype=torch.uint8)
    return _pass(backbone, lambda: backbone.image_features(pixels), train=train)


def text_work(backbone: Backbone, tokens: torch.Tensor, *, train: bool) -> Work:
    """A pass of texts; with ``train``, also the backward pass to the adapters."""
    return _pass(backbone, lambda: backbone.text_features(tokens), train=train)


def _pass(backbone: Backbone, encode: Callable[[], torch.Tensor], *, train: bool) -> Work:
    trained = [weight for _, weight in adapter_weights(backbone)]

    def work() -> None:
        with torch.set_grad_enabled(train):
            features = encode()
            if train:
                features.sum().backward()
                for weight in trained:
                    weight.grad = None

    return work


def head_work(backbone: Backbone, classes: int, batch: int) -> Work:
    """A training step of the head on given features."""
    rows = torch.nn.Parameter(torch.randn(classes, backbone.feature_dim, device=backbone.device))
    features = random_features(batch, backbone)
    labels, optimizer = torch.randint(0, classes, (batch,), device=backbone.device), torch.optim.Adam([rows])

    def work() -> None:
        loss = F.cross_entropy(cosines(features, rows), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return work


def random_features(count: int, backbone: Backbone) -> torch.Tensor:
    """Random normalised features ``(count, d)``, on the device of the CLIP."""
    return F.normalize(torch.randn(count, backbone.feature_dim, device=backbone.device), dim=-1)


def full_length_tokens(backbone: Backbone, texts: Sequence[str]) -> torch.Tensor:
    """Token ids ``(n, full length)`` of texts, padded to the full length of the text tower."""
    length = int(backbone.model.config.text_config.max_position_embeddings)
    ids = backbone.tokenizer(list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    tokens: torch.Tensor = ids["input_ids"].to(backbone.device)
    return tokens


def measure_units(shape: str, stream: Stream, *, rounds: int, images: int) -> dict[str, dict[str, list[float]]]:
    """Measure every unit of work of a shape of ``SHAPES`` in several rounds. The time of one image is its share of a pass of
    ``images``.

    Returns, for each unit, the seconds in each round, by ``ours`` and ``plain``.
    """
    backbone, naive = make_backbone(shape), make_backbone(shape, shortcut=False)
    for each in (backbone, naive):
        prepare(each, Settings())
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
    peak = matmul_peak(rounds=rounds)
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
