"""Times of the method and of the plain method on this machine, phase by phase and composed over a stream (docs/performance.md).

Each unit of work is measured as it runs, ours and the plain one in turn; medians over rounds. A stream's time is the sum of its
units, counted by the formulas in ``ours`` and ``plain``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F

from mgclip.bench.flops import image_tower
from mgclip.bench.plain import full_length_tokens
from mgclip.bench.shapes import make_backbone
from mgclip.clip.adapters import adapter_weights
from mgclip.clip.backbone import Backbone
from mgclip.method.compensation import cosines
from mgclip.method.learner import MGCLIP
from mgclip.method.prepare import prepare
from mgclip.method.settings import Settings

TEXTS = 100
"""Texts measured at a time; more are counted in proportion, as the towers' work is."""


@dataclass(frozen=True)
class Stream:
    """The size of a stream: every task alike."""

    tasks: int = 10
    classes: int = 10
    train_per_class: int = 500
    test_per_class: int = 100
    epochs: int = 1
    batch: int = 128
    head_epochs: int = 3
    encode_batch: int = 128

    @property
    def images(self) -> int:
        """Training images of a task."""
        return self.classes * self.train_per_class


@dataclass(frozen=True)
class Units:
    """Seconds of each unit of work: an image or a text in training (forward and backward), or encoded only; ``own``: the classes
    of a task with prompts cut to the longest, ``full``: ``TEXTS`` texts of full length; ``head``: one step of the head.
    """

    image_trained: float
    image: float
    texts_trained: float
    texts: float
    head: float


def seconds(work: Callable[[], Any]) -> float:
    """How long one call takes, GPU included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def alternately(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work in each round, all of them in turn, after one warm-up; so that drift touches all alike."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    return times


def matmul_peak(rounds: int = 5, size: int = 4096) -> float:
    """The machine's float32 matrix multiply, operations a second: the best of some rounds of a large square product."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    torch.mm(a, b)
    return float(2 * size**3 / min(seconds(lambda: torch.mm(a, b)) for _ in range(rounds)))


def image_work(backbone: Backbone, count: int, *, train: bool) -> Callable[[], None]:
    """A pass of so many images, with the backward pass to the adapters if asked for."""
    pixels = torch.randint(0, 256, (count, 3, backbone.image_size, backbone.image_size), dtype=torch.uint8)
    return _pass(backbone, lambda: backbone.image_features(pixels), train=train)


def text_work(backbone: Backbone, tokens: torch.Tensor, *, train: bool) -> Callable[[], None]:
    """The same of texts."""
    return _pass(backbone, lambda: backbone.text_features(tokens), train=train)


def _pass(backbone: Backbone, encode: Callable[[], torch.Tensor], *, train: bool) -> Callable[[], None]:
    trained = [weight for _, weight in adapter_weights(backbone)]

    def work() -> None:
        with torch.set_grad_enabled(train):
            features = encode()
            if train:
                features.sum().backward()
                for weight in trained:
                    weight.grad = None

    return work


def head_work(backbone: Backbone, classes: int, batch: int) -> Callable[[], None]:
    """One step of the head on given features."""
    rows = torch.nn.Parameter(torch.randn(classes, backbone.feature_dim, device=backbone.device))
    features = F.normalize(torch.randn(batch, backbone.feature_dim, device=backbone.device), dim=-1)
    labels, optimizer = torch.randint(0, classes, (batch,), device=backbone.device), torch.optim.Adam([rows])

    def work() -> None:
        loss = F.cross_entropy(cosines(features, rows), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return work


def measure_units(shape: str, stream: Stream, *, rounds: int, images: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of every unit, ours and plain, in each round: name -> {"ours": [...], "plain": [...]}.

    ``images``: how many pass at a time in training; the time of one is its share.
    """
    names = [f"class number {i}" for i in range(TEXTS)]
    prompts = [Settings().prompt.format(name) for name in names]
    result: dict[str, dict[str, list[float]]] = {}
    short_cut, whole = make_backbone(shape), make_backbone(shape, shortcut=False)
    for backbone in (short_cut, whole):
        prepare(backbone, Settings())
    short = min(stream.classes, TEXTS)
    own, encoded = short_cut.tokenize(prompts[:short]), short_cut.tokenize(prompts)
    full = full_length_tokens(whole, prompts)
    works = {
        "image_trained": (
            image_work(short_cut, images, train=True),
            image_work(whole, images, train=True),
            images,
            images,
        ),
        "image": (image_work(short_cut, images, train=False), image_work(whole, images, train=False), images, images),
        "texts_trained": (text_work(short_cut, own, train=True), text_work(whole, full, train=True), short, TEXTS),
        "texts": (text_work(short_cut, encoded, train=False), text_work(whole, full, train=False), TEXTS, TEXTS),
        "head": (head_work(short_cut, stream.classes, 64), head_work(whole, stream.classes, 64), 1, 1),
    }
    for name, (mine, theirs, of_mine, of_theirs) in works.items():
        found = alternately({"ours": mine, "plain": theirs}, rounds)
        result[name] = {"ours": [t / of_mine for t in found["ours"]], "plain": [t / of_theirs for t in found["plain"]]}
    return result


def steps(items: int, batch: int) -> int:
    """Batches of so many items."""
    return -(-items // batch)


def ours(stream: Stream, units: Units, task: int) -> dict[str, float]:
    """Seconds of one task (0, 1, ...) by phase: each training image E times for training and once for the head, own texts only;
    each test image once, each text once.
    """
    n, last = stream.images, task + 1 == stream.tasks
    tests = stream.classes * stream.test_per_class * (task + 1 if last else task + 2)  # the next task's too, for FWT
    training_steps = stream.epochs * steps(n, stream.batch)
    return {
        "adapter": stream.epochs * n * units.image_trained + training_steps * stream.classes * units.texts_trained,
        "head": n * units.image + stream.head_epochs * steps(n, 64) * units.head,
        "evaluation": tests * units.image + stream.classes * stream.tasks * units.texts,
    }


def plain(stream: Stream, units: Units, task: int) -> dict[str, float]:
    """The same by the plain method: the gap's origin, all seen texts in each step and each evaluation batch, features anew for
    the class means and in each head epoch.
    """
    n, seen = stream.images, stream.classes * (task + 1)
    training_steps = steps(n, stream.batch)
    evaluated = sum(steps(stream.classes * stream.test_per_class, stream.encode_batch) for _ in range(task + 1))
    next_task = task + 1 < stream.tasks
    tests = stream.classes * stream.test_per_class * (task + 1 + next_task)
    return {
        "origin": n * units.image + training_steps * seen * units.texts,
        "adapter": stream.epochs * (n * units.image_trained + training_steps * seen * units.texts_trained),
        "head": (1 + stream.head_epochs) * n * units.image + stream.head_epochs * steps(n, 64) * units.head,
        "evaluation": tests * units.image + evaluated * seen * units.texts,
    }


def compose(stream: Stream, rounds: Sequence[tuple[Units, Units]]) -> dict[str, Any]:
    """Whole stream, last task and its training step, ours and plain, with the paired ratio; medians over rounds."""
    found: dict[str, list[tuple[float, float]]] = {"stream": [], "last task": [], "training step of the last task": []}
    tasks, last = range(stream.tasks), stream.tasks - 1
    batch, seen = min(stream.batch, stream.images), stream.classes * stream.tasks
    for mine, theirs in rounds:
        each = [(sum(ours(stream, mine, t).values()), sum(plain(stream, theirs, t).values())) for t in tasks]
        found["stream"].append((sum(a for a, _ in each), sum(b for _, b in each)))
        found["last task"].append(each[last])
        step = batch * mine.image_trained + stream.classes * mine.texts_trained
        plain_step = batch * theirs.image_trained + seen * theirs.texts_trained
        found["training step of the last task"].append((step, plain_step))
    return {
        name: {
            "ours": statistics.median(a for a, _ in pairs),
            "plain": statistics.median(b for _, b in pairs),
            "ratio": statistics.median(b / a for a, b in pairs),
        }
        for name, pairs in found.items()
    }


def prediction_overhead(shape: str, *, classes: int, batch: int, rounds: int) -> dict[str, float]:
    """Seconds of encoding a batch of images, and of all that prediction over so many classes adds to it, as a model does it."""
    model = MGCLIP(make_backbone(shape), Settings())
    backbone = model.backbone

    def random(count: int) -> torch.Tensor:
        return F.normalize(torch.randn(count, backbone.feature_dim, device=backbone.device), dim=-1)

    names = tuple(f"class number {i}" for i in range(classes))
    model.class_names = model.class_texts = names
    model.head = random(classes)
    model.encoder.remember_texts(names, random(classes))
    features = random(batch)
    works = {
        "encode": image_work(backbone, batch, train=False),
        "classify": lambda: model.classify(features).names,
        "best five": lambda: list(model.classify(features).top(5)),
    }
    times = alternately(works, rounds)
    found = {name: statistics.median(times[name]) for name in works}
    return {**found, "overhead": found["classify"] / found["encode"]}


def bench(shape: str, stream: Stream, *, rounds: int, images: int) -> dict[str, Any]:
    """Everything ``mgclip bench`` reports of one shape and stream."""
    peak = matmul_peak()
    units = measure_units(shape, stream, rounds=rounds, images=images)
    pairs = [
        tuple(Units(**{name: times[who][k] for name, times in units.items()}) for who in ("ours", "plain"))
        for k in range(rounds)
    ]
    composed = compose(stream, [(mine, theirs) for mine, theirs in pairs])
    tower = image_tower(make_backbone(shape).model.config.vision_config)
    trained = statistics.median(units["image_trained"]["ours"])
    encoded = statistics.median(units["image"]["ours"])
    return {
        "shape": shape,
        "stream": asdict(stream),
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "matmul_peak": peak,
        "images_per_second": {"training": 1 / trained, "encoding": 1 / encoded},
        "share_of_peak": {
            "training": tower.training() / trained / peak,
            "encoding": tower.forward() / encoded / peak,
        },
        "units": {name: {who: statistics.median(t) for who, t in times.items()} for name, times in units.items()},
        "composed": composed,
    }
