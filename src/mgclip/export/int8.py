"""A second ONNX file whose weights are 8-bit integers, kept only if it is much faster and gives nearly the same answers."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mgclip.errors import first_line
from mgclip.export.deviation import pixel_values, sample_images
from mgclip.export.onnx_file import quiet
from mgclip.images import find_unreadable_images, to_rgb
from mgclip.method.learner import MGCLIP
from mgclip.words import count

FASTER = 1.5
"""How many times faster than the float32 file it must be."""
SAME = 0.99
"""The share of answers that must be the same."""
SAMPLES = 200
"""Generated images on which answers are compared, unless others are given."""
MOST = 1000
"""The most images that are used; of more, an evenly spread part."""
BATCH, ROUNDS = 16, 5
"""Images per batch, and batches that are timed after a first one that is not."""


@dataclass(frozen=True)
class Int8:
    """What was measured of the file.

    Attributes:
        speedup: How many times faster it is.
        same: The share of images with the same answer.
        images: The number of these images.
        generated: Whether they were generated.
        kept: Whether the file was kept.
        failed: Why it could not be made; empty if it could.
    """

    speedup: float
    same: float
    images: int
    generated: bool
    kept: bool
    failed: str = ""

    @property
    def sentence(self) -> str:
        """What was measured, in words. Both numbers are rounded down, so that those of a file that was not kept show why."""
        if self.failed:
            return f"The ONNX file could not be converted to 8-bit weights ({self.failed})."
        of = count(self.images, "generated image" if self.generated else "image")
        faster, same = math.floor(10 * self.speedup) / 10, math.floor(1000 * self.same) / 10
        return (
            f"The ONNX file with 8-bit weights is {faster:.1f} times as fast and gives the same answer for {same:.1f} % of {of}."
        )


def compared(images: Sequence[Any]) -> list[Any]:
    """The images to compare answers on: all, or an evenly spread part of many. Raises ``InputError`` if one cannot be read."""
    part = [images[place] for place in np.linspace(0, len(images) - 1, min(len(images), MOST)).astype(int)]
    for place in find_unreadable_images(part):
        to_rgb(part[place])
    return part


def add_int8(model: MGCLIP, source: Path, file: Path, images: Sequence[Any] = ()) -> Int8:
    """Convert an ONNX file to 8-bit weights, and measure the result on the processor of this machine.

    Args:
        model: The model of the file.
        source: The float32 file.
        file: The file to create.
        images: Images to compare answers on, as ``compared`` returns them; without them, they are generated.

    Returns:
        What was measured. The file is removed unless it is at least ``FASTER`` times faster and gives ``SAME`` of the answers.
    """
    shown: Sequence[Any] = images or sample_images(model, SAMPLES)
    try:
        quantise(source, file)
        sessions = _session(source), _session(file)
    except Exception as error:  # a CLIP of an unusual shape may not convert; the float32 file is complete without it
        _remove(file)
        return Int8(0.0, 0.0, len(shown), not images, kept=False, failed=first_line(error))
    try:
        same, (slow, fast) = _compare(model, sessions, shown)
    except BaseException:
        _remove(file)
        raise
    kept = slow / fast >= FASTER and same >= SAME
    if not kept:
        _remove(file)
    return Int8(slow / fast, same, len(shown), not images, kept)


def quantise(source: Path, file: Path) -> None:
    """Convert an ONNX file to 8-bit weights."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = source.with_name(f"{source.name}.data").exists()
    kinds = ["MatMul", "Gemm"]
    loaded = onnx.load(source)
    del loaded.graph.value_info[:]  # older versions of onnxruntime transpose weights, but not the shapes that are stored here
    with quiet():
        quantize_dynamic(loaded, file, kinds, weight_type=QuantType.QInt8, use_external_data_format=large)


def _remove(file: Path) -> None:
    for each in (file, file.with_name(f"{file.name}.data")):
        each.unlink(missing_ok=True)


def _session(file: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def _compare(model: MGCLIP, sessions: Sequence[Any], images: Sequence[Any]) -> tuple[float, list[float]]:
    """The share of images with the same answer from both files, and the median seconds of a batch with each."""
    same = 0
    for start in range(0, len(images), BATCH):
        pixels = {"pixel_values": pixel_values(model, [to_rgb(image) for image in images[start : start + BATCH]]).numpy()}
        exact, rounded = (session.run(["label"], pixels)[0] for session in sessions)
        same += int((exact == rounded).sum())
    pixels = {"pixel_values": pixel_values(model, sample_images(model, BATCH)).numpy()}
    seconds: list[list[float]] = [[] for _ in sessions]
    for number in range(ROUNDS + 1):
        for session, taken in zip(sessions, seconds, strict=True):  # in turns, so that a busy moment slows both
            started = time.perf_counter()
            session.run(["label"], pixels)
            if number:
                taken.append(time.perf_counter() - started)
    return same / len(images), [median(taken) for taken in seconds]
