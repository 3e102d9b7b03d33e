"""Encode images and class texts in batches, without gradients. Text features are cached until the weights change."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

import torch
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.adapters import adapters_have_effect, idle_adapters_skipped
from mgclip.clip.ambient import in_ordinary_modes
from mgclip.clip.backbone import Backbone
from mgclip.clip.pixels import KEEP_BYTES, MemoryBudget, PreparedImages, prefetch
from mgclip.clip.representation import Representation, part_of_both
from mgclip.errors import InputError, MGCLIPError
from mgclip.image_lists import image_list

KEPT_TEXTS = 10_000
"""Texts besides those of the latest call whose features are kept. A program may give new candidates with every image."""


class FeatureStore(Protocol):
    """Keeps features of images under the pre-trained CLIP (``saving/kept_features.py``)."""

    def features(self, backbone: Backbone, pixels: PreparedImages, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield what ``backbone.both_features`` returns for the images at each part ``(b,)`` of positions."""


class Encoder:
    """Encodes images and class texts with one CLIP.

    Args:
        backbone: The CLIP.
        prompt: Template of a class text; ``{}`` stands for the class. With several, a class has the mean of their features.
        batch_size: Images or texts per batch.
        normalise: L2-normalise image features. Text features are always normalised.
        representation: What the feature of an image is.

    Attributes:
        on_images: Called after each batch of images with their number, unless it is None.
        kept: Where features of the pre-trained CLIP are kept, unless it is None. It is used as long as the adapters have no
            effect.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        prompt: str | Sequence[str],
        batch_size: int,
        normalise: bool = True,
        representation: Representation = "projected",
    ) -> None:
        self.backbone, self.batch_size, self.normalise = backbone, batch_size, normalise
        self.representation = representation
        self.templates = [prompt] if isinstance(prompt, str) else list(prompt)
        self._model_number, self._weights_number = backbone.model_number, backbone.weights_number
        self.on_images: Callable[[int], None] | None = None
        self.kept: FeatureStore | None = None
        self._texts: dict[str, Tensor] = {}
        self._latest: tuple[tuple[str, ...], Tensor] | None = None

    def require_own_adapters(self) -> None:
        """Check that the CLIP still carries the adapters of the model this encoder belongs to.

        Raises:
            MGCLIPError: If another model has been loaded on the same CLIP.
        """
        if self.backbone.model_number != self._model_number:
            raise MGCLIPError(
                f"The CLIP {self.backbone.reference} now carries the adapters of another model: load a separate CLIP for "
                "each model."
            )

    @in_ordinary_modes
    def pixels(self, images: Any, keep_bytes: int | MemoryBudget = KEEP_BYTES) -> PreparedImages:
        """Prepare images for this CLIP. Transformed images are kept, so that they can be used again.

        Args:
            images: Anything that ``image_list`` takes, or prepared images, which are returned unchanged.
            keep_bytes: Memory for the transformed images.

        Raises:
            InputError: If these are not images.
        """
        if isinstance(images, PreparedImages):
            return images
        return PreparedImages(image_list(images), self.backbone.transform, keep_bytes)

    @in_ordinary_modes
    @torch.no_grad()
    def images(self, pixels: PreparedImages, *, shared: bool = False) -> Tensor:
        """Return features ``(n, d)`` of prepared images, with the current adapters.

        Args:
            pixels: The images.
            shared: All processes call this with the same images, so each encodes a part of them. Otherwise a process encodes all
                of its images, independently of the others.
        """
        self.require_own_adapters()
        empty = torch.empty(0, self.backbone.image_dim(self.representation), device=self.backbone.device)
        if len(pixels) == 0:
            return empty
        indices = torch.arange(len(pixels))
        own = parallel.shard(indices) if shared else indices
        features = []
        batches = [part for part in own.split(self.batch_size) if len(part)]
        with idle_adapters_skipped(self.backbone), closing(self._parts(pixels, batches)) as parts:
            for part in parts:
                features.append(part)
                if self.on_images is not None:
                    self.on_images(len(part))
        encoded = torch.cat([empty, *features])  # a process may have no images
        return parallel.gather_rows(encoded) if shared else encoded

    def _parts(self, pixels: PreparedImages, parts: Sequence[Tensor]) -> Generator[Tensor, None, None]:
        """Yield the features of the images at each part of positions."""
        if self.kept is None or adapters_have_effect(self.backbone):
            self.backbone.expect(sum(map(len, parts)), batch=self.batch_size)
            for _, prepared in prefetch(pixels.batch, parts):
                yield self.batch(prepared)
        else:
            dim = self.backbone.feature_dim
            for both in self.kept.features(self.backbone, pixels, parts):
                yield part_of_both(both, self.representation, dim) if self.normalise else both[:, :dim]

    def batch(self, pixels: Tensor) -> Tensor:
        """Return features ``(b, d)`` of a batch of transformed images ``(b, 3, size, size)`` uint8."""
        return self.backbone.image_features(pixels, normalise=self.normalise, representation=self.representation)

    @torch.no_grad()
    def in_text_space(self, features: Tensor) -> Tensor:
        """Return the features of images that texts are compared with, from those of ``images``."""
        return self.backbone.in_text_space(features, self.representation)

    @in_ordinary_modes
    @torch.no_grad()
    def texts(self, names: Sequence[str]) -> Tensor:
        """Return L2-normalised text features ``(len(names), d)`` of classes."""
        self.require_own_adapters()
        self._forget_outdated_texts()
        known, latest = self._texts, self._latest  # other threads may ask for other texts
        if latest is not None and latest[0] == tuple(names):
            return latest[1]
        new = [name for name in dict.fromkeys(names) if name not in known]
        classes = max(1, self.batch_size // len(self.templates))
        for start in range(0, len(new), classes):
            part = new[start : start + classes]
            tokens = self.backbone.class_tokens(self.templates, part)
            known.update(zip(part, self.backbone.text_features(tokens), strict=True))
        if not names:
            return torch.empty(0, self.backbone.feature_dim, device=self.backbone.device)
        features = torch.stack([known[name] for name in names])
        if len(known) > len(names) + KEPT_TEXTS:
            self._texts = dict(zip(names, features, strict=True))
        self._latest = tuple(names), features
        return features

    def known_texts(self, names: Sequence[str]) -> Tensor | None:
        """Return the text features of classes if all of them are cached."""
        self._forget_outdated_texts()
        return self.texts(names) if all(name in self._texts for name in names) else None

    def remember_texts(self, names: Sequence[str], features: Tensor) -> None:
        """Cache text features ``(len(names), d)`` that were computed elsewhere, with the current weights."""
        self._forget_outdated_texts()
        self._texts.update(zip(names, features, strict=True))
        self._latest = None

    def _forget_outdated_texts(self) -> None:
        """Forget the text features of earlier weights."""
        if self._weights_number != self.backbone.weights_number:
            self._texts, self._latest = {}, None
            self._weights_number = self.backbone.weights_number

    def logits(self, features: Tensor, names: Sequence[str]) -> Tensor:
        """Return text logits of normalised image features: ``(b, d)`` -> ``(b, len(names))`` (docs/method.md 2)."""
        return self.backbone.logit_scale * self.in_text_space(features) @ self.texts(names).T


def check_finite(features: Tensor) -> None:
    """Check that image features ``(n, d)`` are finite. Raises ``InputError`` naming the first that are not."""
    wrong = ~features.isfinite().all(1)
    if wrong.any():
        raise InputError(
            f"The CLIP gives NaN or infinite features for image {int(wrong.int().argmax()) + 1} of {len(features)}: use the "
            "precision float32, or another CLIP."
        )
