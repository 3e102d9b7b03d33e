"""A frozen CLIP and the two things the method asks of it: features of images and features of texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mgclip.clip.compute import Compute, Precision, fitting_micro_batch
from mgclip.clip.transform import Transform


@dataclass
class Backbone:
    """A CLIP with its tokenizer and image transform.

    ``model`` is a ``transformers.CLIPModel``, in float32, every weight frozen, in evaluation mode; adapters, once attached,
    live inside it. ``reference`` is what it was loaded by; ``fingerprint`` names its weights.
    """

    model: Any
    tokenizer: Any
    processor: Any
    reference: str
    fingerprint: str
    peft_model: Any = None
    compute: Compute = field(default_factory=Compute)
    model_number: int = 0
    """Counts the models this CLIP has served: it carries the adapters of the latest one."""
    weights_number: int = 0
    """Counts the changes of the adapters, so that cached features can tell that they are stale."""

    def weights_changed(self) -> None:
        """Note that the adapters have changed."""
        self.weights_number += 1

    @cached_property
    def _mean_std(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the colours ``(1, 3, 1, 1)`` the transform takes for 0 and 1."""
        mean, std = (
            torch.tensor(part, device=self.device) for part in (self.processor.image_mean, self.processor.image_std)
        )
        return mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.logit_scale.device
        return device

    @property
    def feature_dim(self) -> int:
        """Length of a feature: the dimension images and texts share."""
        return int(self.model.config.projection_dim)

    @property
    def image_size(self) -> int:
        """Side of the input image, in pixels."""
        return int(self.model.config.vision_config.image_size)

    @property
    def logit_scale(self) -> Tensor:
        """The factor between a cosine and a logit: the exponential of the learned scale, about 100. Scalar."""
        scale: Tensor = self.model.logit_scale.exp()
        return scale

    @cached_property
    def transform(self) -> Transform:
        """CLIP's evaluation transform up to the crop: RGB images -> ``(n, 3, size, size)`` uint8.

        Bytes instead of floats, so that a data set's transformed images can be kept; ``image_features`` does the normalising.
        """
        return Transform.of(self.processor)

    def image_features(self, pixels: Tensor, *, normalise: bool = True) -> Tensor:
        """Features ``(b, d)`` of transformed images ``(b, 3, size, size)`` uint8, L2-normalised (docs/method.md 2)."""
        mean, std = self._mean_std
        values = (pixels.to(self.device).float() / 255 - mean) / std
        with self.compute.autocast(self.device), self.compute.no_tf32_convolutions(self.device):
            pooled = self.model.vision_model(pixel_values=values).pooler_output  # [b, 3, s, s] -> [b, w]
            features: Tensor = self.model.visual_projection(pooled).float()  # [b, w] -> [b, d]
        return torch.nn.functional.normalize(features, dim=-1) if normalise else features

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids ``(n, longest)`` of texts, padded to the longest of them only.

        The text tower is causal and is read at the end-of-text token, so what follows that token changes nothing and
        need not be computed. A text longer than the tower reads is cut.
        """
        longest = int(self.model.config.text_config.max_position_embeddings)
        ids = self.tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        tokens: Tensor = ids["input_ids"].to(self.device)
        return tokens

    def text_features(self, tokens: Tensor) -> Tensor:
        """L2-normalised features ``(n, d)`` of token ids ``(n, length)``."""
        with self.compute.autocast(self.device):
            pooled = self.model.text_model(input_ids=tokens).pooler_output  # [n, l] -> [n, w]
            features: Tensor = self.model.text_projection(pooled).float()  # [n, w] -> [n, d]
        return torch.nn.functional.normalize(features, dim=-1)

    def configure(self, *, precision: Precision, micro_batch: int | None, compiled: bool, checkpointing: bool) -> None:
        """Say how to compute from now on. ``micro_batch`` None: as many images as the estimate says fit.

        ``compiled`` compiles both towers at their next use; ``checkpointing`` keeps only each layer's input for the backward
        pass and computes the rest again.
        """
        fitting = fitting_micro_batch(self.model.config.vision_config, self.device, checkpointing=checkpointing)
        self.compute = Compute(precision, micro_batch or fitting)
        towers = (self.model.vision_model, self.model.text_model)
        _switch_checkpointing(self.model, checkpointing)
        for tower in towers:
            for layer in tower.encoder.layers:
                layer.training = (
                    checkpointing  # transformers checkpoints a layer in training mode; what is inside stays in eval
                )
            if compiled:
                tower.compile()
            else:
                tower._compiled_call_impl = None  # there is no public way back


def _switch_checkpointing(model: Any, on: bool) -> None:
    """Checkpoint activations from now on, or no more. Until transformers 5.22 it was called gradient checkpointing."""
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    elif getattr(model, f"is_{kind}_checkpointing"):
        getattr(model, f"{kind}_checkpointing_disable")()


def fingerprint(model: Any) -> str:
    """A name for a model's weights: equal for equal weights, however they were stored.

    Taken over names, shapes and float32 values of all parameters, before adapters are attached.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
