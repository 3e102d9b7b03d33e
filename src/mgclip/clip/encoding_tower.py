"""A copy of the image tower that encodes in bfloat16: with merged adapters and bfloat16 weights, compiled if that pays.

Only products of matrices and activations are in bfloat16. Normalisations and the sums between layers stay in float32, as under
autocast, which converts the weights at every use. If the sums were in bfloat16 too, several times as many answers would change.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from torch import Tensor

from mgclip.clip import family
from mgclip.clip.compute import Compute
from mgclip.errors import first_line
from mgclip.while_inside import NO_WARNINGS

log = logging.getLogger(__name__)


class EncodingTower:
    """A copy of an image tower, for encoding without gradients. It does not follow later changes of the adapters.

    Args:
        model: The CLIP, with or without adapters.
        adapted: Whether to merge the adapters. Otherwise the copy is the tower of the pre-trained CLIP.
    """

    def __init__(self, model: Any, *, adapted: bool) -> None:
        tower: Any = copy.deepcopy(model.vision_model)
        tower._compiled_call_impl = None
        for name, module in list(tower.named_modules()):
            if hasattr(module, "lora_A"):
                if adapted:
                    module.merge()
                parent, _, own = name.rpartition(".")
                setattr(tower.get_submodule(parent), own, module.get_base_layer())
        merge_quick_gelu(tower)
        for module in tower.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                module.bfloat16()
        self.tower = tower.eval().requires_grad_(False)
        self.autocast = Compute("bfloat16").autocast
        self.projection = family.projections(model)[0]
        self.compiled: Any = None
        self.batch = 0  # the batch size of the latest attempt to compile it

    def __call__(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs after the projection ``(b, d)`` and before it ``(b, w)`` for images ``(b, 3, size, size)``."""
        number = len(values)
        tower = self.tower
        # The compiled tower takes batches of one size. A small batch is not padded: memory may have run out with a full one.
        if self.compiled is not None and self.batch // 2 <= number <= self.batch:
            tower = self.compiled
            values = torch.cat([values, values.new_zeros(self.batch - number, *values.shape[1:])])
        with self.autocast(values.device):
            pooled = tower(pixel_values=values).pooler_output[:number].float()
        return self.projection(pooled), pooled

    def compile(self, batch: int, size: int) -> None:
        """Compile the tower for batches of ``batch`` images with sides of ``size`` pixels. If that fails, it stays uncompiled."""
        self.compiled, self.batch = None, batch  # a failed attempt is not repeated
        device = next(self.tower.parameters()).device
        compiled = torch.compile(self.tower, options={"freezing": True})
        try:
            with NO_WARNINGS, torch.no_grad(), self.autocast(device):
                compiled(pixel_values=torch.zeros(batch, 3, size, size, device=device))
        except Exception as error:  # compilers and their absence raise many types
            log.info("The image tower runs uncompiled, because compiling it failed: %s.", first_line(error))
            return
        log.info("The image tower is compiled for batches of %d images.", batch)
        self.compiled = compiled


def merge_quick_gelu(tower: Any) -> None:
    """Replace the three operations of ``x * sigmoid(1.702 * x)``, a sixth of the time of ViT-B/16 in bfloat16, by one: SiLU.

    The function equals ``silu(1.702 * x) / 1.702``, and the linear layers around it absorb the two factors.
    """
    from transformers.activations import QuickGELUActivation

    for module in tower.modules():
        if isinstance(getattr(module, "activation_fn", None), QuickGELUActivation):
            module.activation_fn = torch.nn.SiLU(inplace=True)
            for values, factor in ((module.fc1.weight, 1.702), (module.fc1.bias, 1.702), (module.fc2.weight, 1 / 1.702)):
                values.data.mul_(factor)
