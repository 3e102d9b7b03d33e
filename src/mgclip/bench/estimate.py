"""What a stream would cost on other machines, computed and not measured (docs/performance.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mgclip.bench.flops import image_tower, text_tower
from mgclip.bench.measure import Stream, steps


@dataclass(frozen=True)
class Machine:
    """Processors of one kind: ``flops`` each sustains on these towers, ``link`` bytes a second between two of them."""

    name: str
    processors: int
    flops: float
    link: float


MACHINES = (
    Machine("1 GPU, float32 (TF32 off)", 1, 14e12, 0),
    Machine("1 GPU, bfloat16", 1, 120e12, 0),
    Machine("8 GPUs, bfloat16", 8, 120e12, 100e9),
)
"""Rates an A100 sustains on matrix products of this size: about 70 % of 19.5 float32 and 40 % of 312 bfloat16 TFLOP/s."""

PROMPT_TOKENS = 12


def estimate(config: Any, stream: Stream, machine: Machine, *, adapter_numbers: int) -> dict[str, float]:
    """Seconds of the whole stream by phase, and bytes: formulas in the code below.

    ``config``: a ``CLIPConfig``; ``adapter_numbers``: trained numbers, summed across processors in every step.
    """
    images, texts = image_tower(config.vision_config), text_tower(config.text_config, PROMPT_TOKENS)
    rate, classes = machine.flops * machine.processors, stream.classes * stream.tasks
    n, training_steps = stream.images, stream.epochs * steps(stream.images, stream.batch)
    # Each processor encodes the task's texts in every step: that part is not shared out.
    train = stream.tasks * (
        stream.epochs * n * images.training() / rate
        + training_steps * stream.classes * texts.training() / machine.flops
    )
    features = stream.tasks * n * images.forward() / rate
    per_task = stream.classes * stream.test_per_class
    tests = sum(min(t + 2, stream.tasks) * per_task for t in range(stream.tasks))
    evaluation = tests * images.forward() / rate + stream.tasks * classes * texts.forward() / machine.flops
    # A ring passes each number twice, but for one part in `processors`.
    passed = 2 * (machine.processors - 1) / machine.processors * 4 * adapter_numbers * training_steps * stream.tasks
    width = config.projection_dim
    return {
        "training": train,
        "features": features,
        "evaluation": evaluation,
        "communication": passed / machine.link if machine.link else 0.0,
        "total": train + features + evaluation + (passed / machine.link if machine.link else 0.0),
        "model_bytes": 4.0 * (adapter_numbers + classes * width),
        "class_texts_bytes": 4.0 * classes * width,
        "classify_share": 4.0 * classes * width / images.forward(),
    }


def adapter_count(config: Any, rank: int = 8, projections: int = 2) -> int:
    """Numbers in the adapters of both towers: A ``(rank, w)`` and B ``(w, rank)`` for each projection of each layer."""
    towers = (config.vision_config, config.text_config)
    return sum(tower.num_hidden_layers * projections * 2 * rank * tower.hidden_size for tower in towers)
