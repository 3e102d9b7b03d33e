"""MG-CLIP as a straightforward script computes it: the same results, with repeated work (docs/performance.md).

It pads every text to the full length of the text tower. It encodes all classes seen so far in every training step and every
evaluation batch, measures the gap before every task, and encodes the images again for the class means and in each epoch of the
head. It opens and transforms images at every use, unless ``keep_bytes`` keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mgclip.bench.passes import full_length_tokens
from mgclip.clip.adapters import adapter_state, adapter_weights, set_adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.clip.pixels import PreparedImages
from mgclip.method.compensation import class_means, cosines
from mgclip.method.fusion import fuse
from mgclip.method.gap import similarities
from mgclip.method.prepare import prepare
from mgclip.method.settings import Settings
from mgclip.method.training import image_order
from mgclip.stream.tasks import Task


class NaiveMGCLIP:
    """MG-CLIP without optimisations. Give it a backbone made with ``shortcut=False``."""

    def __init__(self, backbone: Backbone, settings: Settings, *, keep_bytes: int = 0) -> None:
        self.backbone, self.settings, self.keep_bytes = backbone, settings, keep_bytes
        self.texts: tuple[str, ...] = ()
        self.head = torch.empty(0, backbone.feature_dim, device=backbone.device)
        self.epochs = None if settings.epochs == "auto" else settings.epochs
        prepare(backbone, settings)

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Token ids ``(n, full length)``."""
        return full_length_tokens(self.backbone, [self.settings.templates[0].format(text) for text in texts])

    def logits(self, pixels: Tensor, texts: Sequence[str]) -> Tensor:
        """Text logits ``(b, len(texts))`` of images. All texts are encoded for this batch."""
        images = self.backbone.image_features(pixels)
        return self.backbone.logit_scale * images @ self.backbone.text_features(self.tokens(texts)).T

    def learn(self, task: Task) -> list[float]:
        """Learn a task. Returns the losses of all steps, those of the probe first."""
        pixels = PreparedImages(task.train.images, self.backbone.transform, self.keep_bytes)
        labels = torch.from_numpy(task.train.labels)
        first, self.texts = len(self.texts), (*self.texts, *task.texts)
        losses: list[float] = []
        initial, origin = adapter_state(self.backbone), self._negative(pixels, labels + first)
        if self.epochs is None:
            limit, self.epochs = self.settings.max_epochs, self.settings.max_epochs
            for epoch in range(1, limit + 1):
                losses += self._epochs(task, pixels, labels, first, range(epoch, epoch + 1), limit, "probe")
                moved = abs(self._negative(pixels, labels + first) - origin) / abs(origin)
                if self.settings.alpha is not None and moved > self.settings.alpha:
                    self.epochs = max(1, epoch - 1)
                    break
            set_adapter_state(self.backbone, initial)
        losses += self._epochs(task, pixels, labels, first, range(1, self.epochs + 1), self.epochs, "adapter")
        return losses + self._head(task, pixels, labels, first)

    def _epochs(
        self, task: Task, pixels: PreparedImages, labels: Tensor, first: int, epochs: range, total: int, phase: str
    ) -> list[float]:
        settings, losses = self.settings, []
        weights = [weight for _, weight in adapter_weights(self.backbone)]
        if epochs.start == 1:
            self.optimizer = torch.optim.Adam(weights, lr=settings.adapter_lr)
            self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, total, eta_min=0.01 * settings.adapter_lr)
        for epoch in epochs:
            for _, picked in self._order(task, phase, epoch, settings.adapter_batch_size):
                logits = self.logits(pixels.batch(picked), self.texts)[:, first:]
                loss = F.cross_entropy(logits, labels[picked].to(logits.device))
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                losses.append(loss.item())
            self.schedule.step()
        return losses

    def _order(self, task: Task, phase: str, epoch: int, size: int) -> list[tuple[int, Tensor]]:
        count, seed, shuffle = len(task.train.labels), self.settings.seed, self.settings.shuffle
        order = image_order(count, phase, task=task.index, epoch=epoch, seed=seed, shuffle=shuffle)
        return list(enumerate(order.split(size), start=1))

    @torch.no_grad()
    def _negative(self, pixels: PreparedImages, labels: Tensor) -> float:
        means = []
        for part in torch.arange(len(labels)).split(self.settings.adapter_batch_size):
            logits = self.logits(pixels.batch(part), self.texts)
            means.append(similarities(logits, labels[part].to(logits.device))[1].mean())
        return torch.stack(means).mean().item()

    @torch.no_grad()
    def _features(self, pixels: PreparedImages, picked: Tensor) -> Tensor:
        return self.backbone.image_features(pixels.batch(picked))

    def _head(self, task: Task, pixels: PreparedImages, labels: Tensor, first: int) -> list[float]:
        settings, losses = self.settings, []
        parts = torch.arange(len(labels)).split(settings.head_batch_size)
        features = torch.cat([self._features(pixels, part) for part in parts])
        fresh = class_means(features, labels.to(features.device), len(task.texts))
        rows = torch.nn.Parameter(torch.cat([self.head, fresh]))
        optimizer = torch.optim.Adam([rows], lr=settings.head_lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, settings.head_epochs * len(parts), eta_min=0.01 * settings.head_lr
        )
        for epoch in range(1, settings.head_epochs + 1):
            for _, picked in self._order(task, "head", epoch, settings.head_batch_size):
                logits = cosines(self._features(pixels, picked), rows)[:, first:]
                loss = F.cross_entropy(logits, labels[picked].to(logits.device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
        self.head = rows.detach()
        return losses

    @torch.no_grad()
    def predict(self, images: Sequence[object]) -> Tensor:
        """The class of each image ``(n,)``. All texts are encoded for every batch."""
        pixels, found = PreparedImages(images, self.backbone.transform, self.keep_bytes), []
        for part in torch.arange(len(pixels)).split(self.settings.encode_batch_size):
            features = self.backbone.image_features(pixels.batch(part))
            logits = self.backbone.logit_scale * features @ self.backbone.text_features(self.tokens(self.texts)).T
            both = fuse(logits, cosines(features, self.head), vision_weight=self.settings.vision_weight, flattened=True)
            found.append(both.argmax(1))
        return torch.cat(found)
