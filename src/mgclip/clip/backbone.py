"""A frozen CLIP, which computes features of images and of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor

from mgclip.clip import family, parallel
from mgclip.clip.auto_precision import PAYS, Choice, choose_precision
from mgclip.clip.compute import ChosenPrecision, Compute, Precision, fitting_micro_batch, images_per_pass, retry_halving
from mgclip.clip.encoding_tower import EncodingTower
from mgclip.clip.representation import Representation, part_of_both, represent
from mgclip.clip.transform import Transform
from mgclip.while_inside import WhileInside

P = ParamSpec("P")
Encode = Callable[Concatenate["Backbone", Tensor, P], Tensor]


def _in_parts_that_fit(encode: Encode[P]) -> Encode[P]:
    """Decorate a method of a backbone: without gradients, it runs on as many images or texts at a time as fit into memory."""

    @wraps(encode)
    def call(backbone: Backbone, items: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if torch.is_grad_enabled():
            return encode(backbone, items, *args, **kwargs)

        def attempt(most: int) -> Tensor:
            parts = [encode(backbone, part, *args, **kwargs) for part in items.split(most)]
            return parts[0] if len(parts) == 1 else torch.cat(parts)

        features, fitted = retry_halving(backbone.compute.encode_batch, len(items), attempt)
        backbone.compute.encode_batch = min(fitted, backbone.compute.encode_batch)  # templates: a call inside this one
        return features

    return call


@dataclass
class Backbone:
    """A CLIP with its tokenizer and image transform.

    Attributes:
        model: A CLIP of transformers, of one of the ``FAMILIES``, in float32 and evaluation mode, with all weights frozen.
            Adapters are attached to it.
        tokenizer: Its tokenizer.
        processor: Its image processor.
        reference: The name or path that it was loaded from.
        fingerprint: Identifies its weights.
        peft_model: The model with its adapters, once they are attached.
        skips_adapters: Disables these adapters while any thread is inside.
        compute: Precision and micro-batch.
        model_number: Counts the models that this CLIP has served. It carries the adapters of the latest one.
        adapters_enabled: Whether features are those of the adapters; otherwise they are those of the pre-trained CLIP.
        jpeg_draft: Whether JPEG files are decoded at reduced size.
        token_digests: Digests of the tokens of texts, by templates and text, so that a text is tokenised only once for them.
        weights_number: Counts the changes of the adapters, so that a cache of features can detect that it is stale.
    """

    model: Any
    tokenizer: Any
    processor: Any
    reference: str
    fingerprint: str
    peft_model: Any = None
    skips_adapters: WhileInside | None = field(default=None, init=False, repr=False)
    compute: Compute = field(default_factory=Compute)
    model_number: int = 0
    weights_number: int = 0
    adapters_enabled: bool = True
    jpeg_draft: bool = False
    token_digests: dict[tuple[str, ...], dict[str, int]] = field(default_factory=dict, init=False, repr=False)
    _choice: Choice | None = field(default=None, init=False, repr=False)
    _agreed: bool = field(default=False, init=False, repr=False)
    _encoding: tuple[int, int, EncodingTower] | None = field(default=None, init=False, repr=False)

    def weights_changed(self) -> None:
        """Record that the adapters have changed."""
        self.weights_number += 1

    @cached_property
    def _mean_std(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation ``(1, 3, 1, 1)`` of the colours, with which images are normalised."""
        mean, std = (torch.tensor(part, device=self.device) for part in (self.processor.image_mean, self.processor.image_std))
        return mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        device: torch.device = self.model.logit_scale.device
        return device

    @property
    def feature_dim(self) -> int:
        """Length of a feature, the same for images and texts."""
        return family.feature_dim(self.model.config)

    def image_dim(self, representation: Representation) -> int:
        """Length of the feature of an image in a representation."""
        width = int(self.model.config.vision_config.hidden_size)
        return {"projected": self.feature_dim, "pre-projection": width, "both": self.feature_dim + width}[representation]

    @property
    def image_size(self) -> int:
        """Side of the input image, in pixels."""
        return int(self.model.config.vision_config.image_size)

    @property
    def logit_scale(self) -> Tensor:
        """The factor from cosines to logits: a scalar, the exponential of the learned scale, about 100.

        SigLIP also adds a bias, the same for all classes. It changes no prediction among classes, and is left out.
        """
        scale: Tensor = self.model.logit_scale.exp()
        return scale.reshape(())

    @property
    def transform(self) -> Transform:
        """CLIP's evaluation transform up to the crop: RGB images -> ``(n, 3, size, size)`` uint8.

        Bytes take less memory than floats, so the images of a data set can be kept; ``image_features`` normalises them.
        """
        return replace(Transform.of(self.processor), jpeg_draft=self.jpeg_draft)

    @property
    def choice(self) -> Choice | None:
        """What was measured to choose the precision of the image tower; None if the precision was given."""
        if self._choice is None and self.compute.auto:
            self._choice = choose_precision(self.model)
        return self._choice if self.compute.auto else None

    def agree_on_precision(self) -> None:
        """With ``precision: auto``, give all processes the choice of the first one. All of them must call this."""
        if self.compute.auto and not self._agreed and parallel.is_distributed():
            own = [self.choice] if parallel.is_main() else []
            self._choice, self._agreed = parallel.gather_items(own)[0], True

    @property
    def image_precision(self) -> Precision:
        """The arithmetic of the image tower."""
        return self.compute.precision if self.choice is None else self.choice.precision

    @property
    def uses_encoding_tower(self) -> bool:
        """Whether images are encoded without gradients by a copy of the image tower, which rounds less than autocast."""
        return self.choice is not None and self.choice.precision == "bfloat16"

    @_in_parts_that_fit
    def image_features(self, pixels: Tensor, *, normalise: bool = True, representation: Representation = "projected") -> Tensor:
        """Return features ``(b, d)`` of transformed images ``(b, 3, size, size)`` uint8, L2-normalised (docs/method.md 2).

        Only projected features may be left as they are.
        """
        projected, pooled = self._projected_and_pooled(pixels)
        return represent(projected, pooled, representation) if normalise else projected

    @_in_parts_that_fit
    def both_features(self, pixels: Tensor) -> Tensor:
        """Return the features of transformed images ``(b, 3, size, size)`` uint8 next to those before the projection,
        ``(b, d + w)``, neither normalised: everything that a representation needs.
        """
        return torch.cat(self._projected_and_pooled(pixels), dim=-1)

    def _projected_and_pooled(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The output of the image tower after its projection ``(b, d)`` and before it ``(b, w)``, in float32."""
        size = len(pixels) if torch.is_grad_enabled() else self.images_per_pass(len(pixels))
        if size == len(pixels):
            return self._in_one_pass(pixels)
        projected, pooled = zip(*map(self._in_one_pass, pixels.split(size)), strict=True)
        return torch.cat(projected), torch.cat(pooled)

    def images_per_pass(self, images: int) -> int:
        """How many of a batch of images the tower encodes at a time without gradients."""
        return images_per_pass(images, self.model.config.vision_config, self.device, self.image_precision)

    def _in_one_pass(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = self._mean_std
        values = (pixels.to(self.device, non_blocking=True).float() / 255 - mean) / std
        if self.uses_encoding_tower and not torch.is_grad_enabled():
            return self._encoding_tower()(values)
        with self.compute.autocast(self.device, self.image_precision), self.compute.no_tf32_convolutions(self.device):
            pooled = self.model.vision_model(pixel_values=values).pooler_output  # [b, 3, s, s] -> [b, w]
            projected = family.projections(self.model)[0](pooled)  # [b, w] -> [b, d]
        return projected.float(), pooled.float()

    def in_text_space(self, features: Tensor, representation: Representation) -> Tensor:
        """Return the normalised projected features ``(n, d)`` of images from those in a representation."""
        if representation == "projected":
            return features
        if representation == "both":
            return part_of_both(features, "projected", self.feature_dim)
        projected: Tensor = family.projections(self.model)[0](features)  # linear without a constant, so lengths do not matter
        return torch.nn.functional.normalize(projected, dim=-1)

    def expect(self, images: int, *, batch: int) -> None:
        """Prepare to encode many images in batches: if it takes long enough, the image tower is compiled for that first."""
        if self.choice is None or not self.uses_encoding_tower or images < PAYS * self.choice.speed(self.device):
            return
        tower, batch = self._encoding_tower(), self.images_per_pass(batch)
        if tower.batch != batch:
            tower.compile(batch, self.image_size)

    def _encoding_tower(self) -> EncodingTower:
        """The copy of the image tower with the current adapters."""
        if self._encoding is None or self._encoding[:2] != (self.model_number, self.weights_number):
            tower = EncodingTower(self.model, adapted=self.adapters_enabled)
            self._encoding = self.model_number, self.weights_number, tower
        return self._encoding[2]

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Return token ids ``(n, length)`` of texts. Texts that are too long are cut.

        A causal text tower is read at the end-of-text token, so more padding than to the longest of the texts would change
        nothing. Other towers read the padding too, and get as much as in training.
        """
        longest = int(self.model.config.text_config.max_position_embeddings)
        padding = "longest" if family.family_of(self.model).causal else "max_length"
        ids = self.tokenizer(list(texts), padding=padding, truncation=True, max_length=longest, return_tensors="pt")
        tokens: Tensor = ids["input_ids"].to(self.device)
        return tokens

    def class_tokens(self, templates: Sequence[str], names: Sequence[str]) -> Tensor:
        """Return token ids of classes, ``(n, length)`` for one template, ``(n, templates, length)`` for several. In a template
        ``{}`` stands for the name of a class.
        """
        tokens = self.tokenize([template.format(name) for name in names for template in templates])
        return tokens if len(templates) == 1 else tokens.unflatten(0, (len(names), len(templates)))

    @_in_parts_that_fit
    def text_features(self, tokens: Tensor) -> Tensor:
        """Return L2-normalised features ``(n, d)`` of token ids ``(n, length)``. If they are ``(n, templates, length)``, the
        features of the templates are averaged.
        """
        if tokens.ndim == 3:
            each = self.text_features(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])  # [n, t, l] -> [n, t, d]
            return torch.nn.functional.normalize(each.mean(1), dim=-1)
        with self.compute.autocast(self.device):
            pooled = self.model.text_model(input_ids=tokens).pooler_output  # [n, l] -> [n, w]
            features: Tensor = family.projections(self.model)[1](pooled).float()  # [n, w] -> [n, d]
        return torch.nn.functional.normalize(features, dim=-1)

    def configure(self, *, precision: ChosenPrecision, micro_batch: int | None, compiled: bool, checkpointing: bool) -> None:
        """Set how to compute from now on.

        Args:
            precision: Floating-point type of the towers; with ``auto``, that of the image tower is chosen when it is first used.
            micro_batch: Images per forward and backward pass; None estimates how many fit into memory.
            compiled: Compile both towers at their next use.
            checkpointing: Keep only the input of each layer for the backward pass, and compute the rest again.
        """
        fitting = fitting_micro_batch(self.model.config.vision_config, self.device, checkpointing=checkpointing)
        self.compute = Compute("float32" if precision == "auto" else precision, micro_batch or fitting, auto=precision == "auto")
        _switch_checkpointing(self.model, checkpointing)
        for tower in (self.model.vision_model, self.model.text_model):
            for layer in tower.encoder.layers:
                layer.training = checkpointing  # transformers requires it; the modules inside stay in evaluation mode
            if compiled:
                tower.compile()
            else:
                tower._compiled_call_impl = None  # there is no public way to undo compile()


def _switch_checkpointing(model: Any, on: bool) -> None:
    """Switch activation checkpointing on or off. Before transformers 5.22 it was called gradient checkpointing."""
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    elif getattr(model, f"is_{kind}_checkpointing"):
        getattr(model, f"{kind}_checkpointing_disable")()
