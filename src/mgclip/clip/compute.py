"""How a backbone computes: its precision, and its micro-batch, which changes results by rounding only."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

from mgclip.clip.ambient import EXACT_FLOAT32
from mgclip.errors import MGCLIPError

Precision = Literal["float32", "bfloat16", "float16"]
ChosenPrecision = Literal["float32", "bfloat16", "float16", "auto"]
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Result = TypeVar("Result")

CPU_ACTIVATION_BYTES = 7 << 27
"""Bytes that the activations of one micro-batch may take on a CPU. Small micro-batches are faster there: ViT-B/16 trains in
0.40 s per image with 8 of them, in 0.57 s with 14 (docs/performance.md). And a process that runs out of CPU memory is killed.
"""
CPU_TENSOR_BYTES = 1 << 25
"""Bytes that the largest tensor of one pass without gradients may take on a CPU. glibc gives larger blocks back to the system
each time, and getting their pages again takes up to a quarter of the time of a pass.
"""
GPU_SHARE = 0.6
"""Share of a GPU's free memory that the activations of a micro-batch may take. If that is too much, the micro-batch is halved."""
SAVED_PER_WIDTH = 15
"""Values that a layer keeps per token for the backward pass, in units of its width; 14 were measured on ViT-B/16."""


@dataclass
class Compute:
    """The precision of the towers, and the sizes of their passes, which are halved when memory runs out.

    Attributes:
        precision: The precision of both towers.
        micro_batch: The most images of a pass with gradients.
        encode_batch: The most images or texts of a pass without.
        auto: Whether the image tower runs in the precision that is fastest on this machine instead.
    """

    precision: Precision = "float32"
    micro_batch: int = 1 << 30
    encode_batch: int = 1 << 30
    auto: bool = False

    def autocast(self, device: torch.device, precision: Precision | None = None) -> Any:
        """Return the context in which the towers run, or the image tower if it has another ``precision``."""
        precision = precision or self.precision
        return torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32")

    def no_tf32_convolutions(self, device: torch.device) -> Any:
        """Return the context in which cuDNN computes convolutions in float32; otherwise it rounds to 10 bits."""
        return EXACT_FLOAT32 if device.type == "cuda" and self.precision == "float32" else nullcontext()


def tokens_of(vision_config: Any) -> int:
    """Tokens of an image: its patches and the class token."""
    side: int = vision_config.image_size // vision_config.patch_size
    return side**2 + 1


def images_per_pass(images: int, vision_config: Any, device: torch.device, precision: Precision) -> int:
    """How many of these images are encoded in one pass without gradients. On a CPU, small passes of equal size are faster."""
    if device.type != "cpu":
        return images
    widest: int = tokens_of(vision_config) * vision_config.intermediate_size * DTYPES[precision].itemsize
    passes = math.ceil(images / max(1, CPU_TENSOR_BYTES // widest))
    return math.ceil(images / max(1, passes))


def fitting_micro_batch(vision_config: Any, device: torch.device, *, checkpointing: bool) -> int:
    """Estimate for how many images the activations of a training step fit into memory.

    Args:
        vision_config: The shape of the image tower.
        device: Where it computes.
        checkpointing: Whether only the input of each layer is kept for the backward pass.
    """
    available: float = CPU_ACTIVATION_BYTES
    if device.type == "cuda":
        torch.cuda.empty_cache()  # memory that PyTorch caches is also free
        available = GPU_SHARE * torch.cuda.mem_get_info(device)[0]
    layer = tokens_of(vision_config) * vision_config.hidden_size * 4
    # With checkpointing every layer keeps its input, and only one layer at a time keeps everything.
    layers = vision_config.num_hidden_layers
    kept = layers + SAVED_PER_WIDTH if checkpointing else layers * SAVED_PER_WIDTH
    return int(max(1, available // (layer * kept)))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed, on a GPU or on the CPU."""
    messages = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(message in str(error) for message in messages))


def retry_halving(most: int, items: int, attempt: Callable[[int], Result]) -> tuple[Result, int]:
    """Call a function with the most items of a pass, and again with half of them each time memory runs out.

    Args:
        most: The most items of a pass.
        items: How many there are.
        attempt: What to call with the most items of a pass.

    Returns:
        What it returned, and the size that fitted.

    Raises:
        MGCLIPError: If memory runs out with a single item.
    """
    while True:
        try:
            return attempt(most), most
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if min(most, items) <= 1:
                raise MGCLIPError(
                    "Memory ran out with a single image or text: free memory, train with activation_checkpointing, or use a "
                    "smaller CLIP."
                ) from error
        most = max(1, min(most, items) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
