"""``precision: auto``: float32 or bfloat16, whichever encodes images faster on this machine.

GPUs and some processors multiply several times as fast in bfloat16 as in float32. Others are no faster, or slower. The name of a
processor does not show which kind it is, so both precisions are measured.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from mgclip.clip.compute import Compute, Precision, tokens_of
from mgclip.disk import write_json

CACHE = "MGCLIP_CACHE"
"""The environment variable that names the folder in which choices are stored; by default ``mgclip`` in the user's cache."""
FASTER = 1.3
"""bfloat16 is chosen if it is faster by this factor."""
PAYS = 120.0
"""Seconds of encoding from which compilation pays, which takes up to a minute."""
MULTIPLICATIONS = 6
"""How often each product of matrices is timed, after one that is not. The shortest time counts."""
IMAGES = {"cpu": 4, "cuda": 64}
"""Images of a measured pass. A GPU needs many, because with a few, starting the kernels takes most of the time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """A precision, and what was measured to choose it.

    Attributes:
        precision: The precision for encoding images.
        unit: What the rates count: ``multiplications`` of matrices or, if these are faster in bfloat16, ``images``.
        float32: The rate per second in float32.
        bfloat16: The rate per second in bfloat16.
        threads: The number of threads that measured it; 0 if it was not stored.
    """

    precision: Precision
    unit: str
    float32: float
    bfloat16: float
    threads: int = 0

    def speed(self, device: torch.device) -> float:
        """About how many units per second are computed in bfloat16 with the threads of this process."""
        more = torch.get_num_threads() / self.threads if self.threads and device.type == "cpu" else 1.0
        return more * self.bfloat16

    def __str__(self) -> str:
        return (
            f"Images are encoded in {self.precision}: measured {self.float32:.3g} {self.unit} per second in float32 and "
            f"{self.bfloat16:.3g} in bfloat16"
        )


_CHOICES = TypeAdapter(dict[str, Choice])
_chosen: dict[str, Choice] = {}
"""The choices of this process, by ``_key``."""


def choose_precision(model: Any) -> Choice:
    """Return the precision for encoding images with a CLIP. It is measured now, unless it was measured on this machine before."""
    key = _key(model)
    if key not in _chosen:
        known = _remembered()
        _chosen[key] = known.get(key) or measure(model)
        log.info("%s%s.", _chosen[key], " earlier" if key in known else "")
        if key not in known:
            _remember({**known, key: _chosen[key]})
    return _chosen[key]


def measure(model: Any) -> Choice:
    """Measure both precisions: matrices of the size of the image tower and, if bfloat16 multiplies them faster, the tower."""
    unit, rates = "multiplications", multiplication_rates(model)
    if _is_faster(rates):
        unit, rates = "images", image_rates(model)
    return Choice("bfloat16" if _is_faster(rates) else "float32", unit, *rates, torch.get_num_threads())


def _is_faster(rates: tuple[float, float]) -> bool:
    return rates[1] > FASTER * rates[0]


def multiplication_rates(model: Any) -> tuple[float, float]:
    """Products per second, in float32 and in bfloat16, of matrices as large as those in the MLP of the image tower."""
    config, device = model.config.vision_config, _device(model)
    tokens = IMAGES[device.type] * tokens_of(config)

    def product(kind: torch.dtype) -> Callable[[], Tensor]:
        left = torch.ones(tokens, config.hidden_size, dtype=kind, device=device)
        right = torch.ones(config.hidden_size, config.intermediate_size, dtype=kind, device=device)
        return lambda: left @ right

    return _rates(product(torch.float32), product(torch.bfloat16), device, MULTIPLICATIONS)


def image_rates(model: Any) -> tuple[float, float]:
    """Images per second that the tower encodes, in float32 and in bfloat16."""
    device, size = _device(model), model.config.vision_config.image_size
    number = IMAGES[device.type]
    pixels = torch.zeros(number, 3, size, size, device=device)

    def encode(precision: Precision) -> None:
        with Compute(precision).autocast(device):
            model.vision_model(pixel_values=pixels)

    one, two = _rates(lambda: encode("float32"), lambda: encode("bfloat16"), device, 2)
    return number * one, number * two


@torch.no_grad()
def _rates(one: Callable[[], object], two: Callable[[], object], device: torch.device, times: int) -> tuple[float, float]:
    """The highest number of calls per second of each of two functions. They take turns, so that other work slows down both."""
    best = [float("inf"), float("inf")]
    for _ in range(1 + times):  # one more, because the first call is slow
        for place, work in enumerate((one, two)):
            start = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best[place] = min(best[place], time.perf_counter() - start)
    return 1 / best[0], 1 / best[1]


def _device(model: Any) -> torch.device:
    device: torch.device = model.logit_scale.device
    return device


def _key(model: Any) -> str:
    """A digest of what the choice depends on: the machine, its processor or GPU, PyTorch, and the image tower. The number of
    threads is not part of it, so that one process chooses what several do.
    """
    device = _device(model)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    shape = model.config.vision_config.to_json_string(use_diff=False)
    parts = platform.node(), machine, torch.__version__, shape
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """The name of the processor and its instructions, in which virtual machines with the same name may differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return platform.processor()
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features"))))


def _file() -> Path:
    own, user = os.environ.get(CACHE), os.environ.get("XDG_CACHE_HOME")
    return (Path(own) if own else Path(user or Path.home() / ".cache") / "mgclip") / "precision.json"


def _remembered() -> dict[str, Choice]:
    try:
        return _CHOICES.validate_json(_file().read_bytes())
    except (OSError, RuntimeError, ValueError):
        return {}


def _remember(choices: dict[str, Choice]) -> None:
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_json(_file(), {key: asdict(choice) for key, choice in choices.items()})
    except (OSError, RuntimeError) as error:  # a home folder that cannot be written: the next process measures again
        log.info("The choice of precision cannot be stored: %s.", error)
