"""How a backbone computes: in which precision, and how many images at a time, which changes no result beyond rounding."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

from mgclip.errors import MGCLIPError

Precision = Literal["float32", "bfloat16", "float16"]
Result = TypeVar("Result")

CPU_ACTIVATION_BYTES = 7 << 27
"""Bytes that the activations of one micro-batch may take on a processor. Little, because little is fast there: 8 images of
ViT-B/16 at a time train at 0.40 s each, 14 at 0.57 (docs/performance.md); and because running out of memory ends the process.
"""
GPU_SHARE = 0.6
"""Share of a GPU's free memory that they may take; where that was too much, the micro-batch is halved."""
SAVED_PER_WIDTH = 15
"""Numbers of the layer's width that a layer keeps for each token until the backward pass; 14 were measured on ViT-B/16."""


@dataclass
class Compute:
    """How one backbone computes. ``micro_batch``: images in one forward and backward pass; halved when memory runs out."""

    precision: Precision = "float32"
    micro_batch: int = 1 << 30

    def autocast(self, device: torch.device) -> Any:
        """The context in which the towers run."""
        dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.precision]
        return torch.autocast(device.type, dtype, enabled=self.precision != "float32")

    def no_tf32_convolutions(self, device: torch.device) -> Any:
        """The context in which float32 is float32: cuDNN's convolutions round to 10 bits otherwise."""
        if device.type != "cuda" or self.precision != "float32":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def fitting_micro_batch(vision_config: Any, device: torch.device, *, checkpointing: bool) -> int:
    """How many images keep their activations within the room there is: an estimate from the image tower's shape."""
    room: float = CPU_ACTIVATION_BYTES
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what PyTorch keeps for later is free too
        room = GPU_SHARE * torch.cuda.mem_get_info(device)[0]
    tokens = (vision_config.image_size // vision_config.patch_size) ** 2 + 1
    layer = tokens * vision_config.hidden_size * 4
    # With checkpointing each layer keeps its input only, and one layer at a time all the rest.
    layers = vision_config.num_hidden_layers
    kept = layers + SAVED_PER_WIDTH if checkpointing else layers * SAVED_PER_WIDTH
    return int(max(1, room // (layer * kept)))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed, on a GPU or on the processor."""
    said = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(words in str(error) for words in said))


def retry_halving_micro_batch(compute: Compute, images: int, attempt: Callable[[int], Result]) -> Result:
    """Call ``attempt`` with the micro-batch for so many ``images``; where memory runs out, with half of it, and so on. What
    fitted is remembered.

    Raises ``MGCLIPError`` where not even a single image fits.
    """
    while True:
        try:
            return attempt(compute.micro_batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if min(compute.micro_batch, images) <= 1:
                raise MGCLIPError(
                    "Memory ran out with a single image: free memory, set activation_checkpointing, or take a smaller CLIP."
                ) from error
        compute.micro_batch = max(1, min(compute.micro_batch, images) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
