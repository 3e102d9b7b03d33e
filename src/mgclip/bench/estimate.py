"""The cost of a stream on other machines, computed and not measured (docs/performance.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mgclip.bench.flops import image_flops, text_flops
from mgclip.bench.stream import Stream, steps
from mgclip.clip.family import FAMILIES, feature_dim
from mgclip.method.settings import Settings
from mgclip.method.stored_texts import MANY


@dataclass(frozen=True)
class Machine:
    """Equal processors.

    ``flops``: operations per second that each sustains on the towers of a CLIP; ``link``: bytes per second between two of them.
    """

    name: str
    processors: int
    flops: float
    link: float


FLOAT32 = 34e12
BFLOAT16 = 138e12
"""Operations per second of ViT-B/16's forward and backward passes, measured on an NVIDIA H100 (docs/performance.md)."""

MACHINES = (
    Machine("1 H100, float32", 1, FLOAT32, 0),
    Machine("1 H100, bfloat16", 1, BFLOAT16, 0),
    Machine("8 H100, bfloat16", 8, BFLOAT16, 100e9),
)
"""One GPU at the measured rates; and eight, which were not measured, with a link of 100 GB/s."""

PROMPT_TOKENS = 12
"""Tokens of a short prompt, for text towers that need no padding."""


def estimate(config: Any, stream: Stream, machine: Machine, *, adapter_numbers: int) -> dict[str, float]:
    """Estimate a complete stream of a CLIP with a configuration. ``adapter_numbers`` of its weights are trained and summed across
    the processors in every step.

    Returns the seconds of each phase and in all; bytes of the saved model and of the text features of all classes; and the time
    of comparing an image with all classes, as a share of encoding it.
    """
    tokens = PROMPT_TOKENS if FAMILIES[config.model_type].causal else config.text_config.max_position_embeddings
    encode, encode_text = image_flops(config, training=False), text_flops(config, tokens, training=False)
    train, train_text = image_flops(config, training=True), text_flops(config, tokens, training=True)
    rate, classes = machine.flops * machine.processors, stream.classes * stream.tasks
    n, training_steps = stream.images, stream.epochs * steps(stream.images, stream.batch)
    # Every processor encodes all texts of the task in each step; only the images are divided among them.
    training = stream.tasks * (stream.epochs * n * train / rate + training_steps * stream.classes * train_text / machine.flops)
    features = stream.tasks * n * encode / rate
    tests = sum(map(stream.tested, range(stream.tasks)))
    evaluation = tests * encode / rate + stream.tasks * classes * encode_text / machine.flops
    # A ring all-reduce sends (p - 1) / p of the numbers twice.
    sent = 2 * (machine.processors - 1) / machine.processors * 4 * adapter_numbers * training_steps * stream.tasks
    communication = sent / machine.link if machine.link else 0.0
    text_features = 4.0 * classes * feature_dim(config)
    stored = 2 if classes >= MANY else 1  # the head has the shape of the text features, which many classes store too
    return {
        "training": training,
        "features": features,
        "evaluation": evaluation,
        "communication": communication,
        "total": training + features + evaluation + communication,
        "model_bytes": 4.0 * adapter_numbers + stored * text_features,
        "class_texts_bytes": text_features,
        # Two operations for each number of the texts and of the head are four: as many as a number has bytes.
        "classify_share": text_features / encode,
    }


def adapter_count(config: Any) -> int:
    """Number of adapter weights of the default settings: A ``(rank, w)`` and B ``(w, rank)`` per projection and layer."""
    settings, towers = Settings(), (config.vision_config, config.text_config)
    each = len(settings.projections) * 2 * settings.rank
    return sum(tower.num_hidden_layers * each * tower.hidden_size for tower in towers)
