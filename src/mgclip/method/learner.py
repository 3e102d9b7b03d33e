"""MG-CLIP: one object that learns tasks one after another and predicts over everything learned so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mgclip.clip.adapters import adapter_state, attach_adapters, read_adapter_file, set_adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.clip.load import load_backbone
from mgclip.clip.pixels import Pixels
from mgclip.errors import InputError
from mgclip.method import saved
from mgclip.method.compensation import cosines, train_head
from mgclip.method.fusion import fuse
from mgclip.method.predictions import Predictions
from mgclip.method.preservation import Probe, probe, train_adapter
from mgclip.method.settings import Settings
from mgclip.method.task import TaskData, make_task
from mgclip.method.training import OnStep


@dataclass(frozen=True)
class Learned:
    """What one call of ``learn`` did: the task's number, its epochs, and the probe if this task was probed."""

    task: int
    epochs: int
    probe: Probe | None


class MGCLIP:
    """A CLIP that learns new classes, task after task.

    ``class_names`` are all classes learned, in order; ``task_sizes`` how many came with each task; ``epochs`` the length of the
    adapter phase once it is known; ``head`` the image-space classifier's rows ``(classes, d)``. A backbone serves one model at
    a time: it carries the model's adapters.
    """

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        self.backbone, self.settings = backbone, settings
        self.class_names: tuple[str, ...] = ()
        self.task_sizes: tuple[int, ...] = ()
        self.epochs: int | None = None if settings.epochs == "auto" else settings.epochs
        self.head: Tensor = torch.empty(0, backbone.width, device=backbone.device)
        self._texts: dict[str, Tensor] = {}
        attach_adapters(backbone, rank=settings.rank, alpha=settings.lora_alpha, seed=settings.seed)
        if settings.adapter_init is not None:
            set_adapter_state(backbone, read_adapter_file(Path(settings.adapter_init)))

    @classmethod
    def from_pretrained(
        cls,
        reference: str | Path,
        *,
        settings: Settings | None = None,
        base: str | Path | Backbone | None = None,
        device: str | torch.device | None = None,
    ) -> MGCLIP:
        """A model to start from, or a saved one to go on with.

        ``reference``: a CLIP (hub id, local folder, OpenAI ``.pt`` file, ``iconclip``), or a folder written by
        ``save_pretrained``. A saved model brings its own settings; ``base`` is its CLIP, or where that is now, if it moved.
        Raises ``InputError`` where nothing usable is there, or where the base is not the one the model was trained on.
        """
        if not saved.is_saved(reference):
            return cls(load_backbone(reference, device), settings or Settings())
        if settings is not None:
            raise InputError(f"{reference} is a saved model and keeps its own settings: leave settings out.")
        found = saved.read(Path(reference))
        backbone = base if isinstance(base, Backbone) else load_backbone(base or found.reference, device)
        if backbone.fingerprint != found.fingerprint:
            raise InputError(
                f"{reference} was trained on the CLIP {found.reference} (fingerprint {found.fingerprint[:8]}); "
                f"{backbone.reference} is another one ({backbone.fingerprint[:8]}): give the one it was trained on."
            )
        if found.learnt.head.shape[1] != backbone.width:
            rows, width = found.learnt.head.shape[1], backbone.width
            raise InputError(f"The head in {reference} has rows of {rows} numbers; this CLIP's features have {width}.")
        model = cls(backbone, found.learnt.settings)
        set_adapter_state(backbone, found.adapter)
        model.head = found.learnt.head.to(backbone.device)
        model.class_names, model.task_sizes = found.learnt.class_names, found.learnt.task_sizes
        model.epochs = found.learnt.epochs
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model: peft adapter, head, classes, settings, and which CLIP it needs. Whole or not at all."""
        learnt = saved.Learnt(self.settings, self.epochs, self.task_sizes, self.class_names, self.head)
        saved.save(Path(folder), self.backbone, learnt)

    def learn(
        self,
        images: Sequence[Any] | Pixels,
        labels: ArrayLike,
        class_names: Sequence[str],
        *,
        on_step: OnStep = lambda step: None,
    ) -> Learned:
        """Learn one task: all its classes at once, none of them learned before.

        ``images``: Pillow images, paths or uint8 arrays. ``labels``: for each image a position in ``class_names`` or
        one of its names. Interrupted or failed, it leaves the model as it was. Raises ``InputError`` for what cannot be
        learned, ``TrainingDiverged`` when the loss stops being a number.
        """
        pixels = images if isinstance(images, Pixels) else self.pixels(images)
        task = make_task(pixels, labels, class_names, index=len(self.task_sizes), known=self.class_names)
        before, epochs_before = adapter_state(self.backbone), self.epochs
        try:
            seen = self._preserve(task, on_step)
            rows = self._compensate(task, on_step)
        except BaseException:
            set_adapter_state(self.backbone, before)
            self.epochs = epochs_before
            self._texts.clear()
            raise
        self.head = torch.cat([self.head, rows])
        self.class_names += task.names
        self.task_sizes += (len(task.names),)
        return Learned(task.index, self.epochs or 0, seen)

    def _preserve(self, task: TaskData, on_step: OnStep) -> Probe | None:
        """Train the adapters for as long as the modality gap allows (docs/method.md 4, 5)."""
        seen = None
        if self.epochs is None and len(task.names) > 1:
            seen = probe(self.backbone, task, self.settings, on_step)
            self.epochs = seen.epochs
        if self.epochs:
            train_adapter(self.backbone, task, self.settings, epochs=self.epochs, on_step=on_step)
        self._texts.clear()
        return seen

    def _compensate(self, task: TaskData, on_step: OnStep) -> Tensor:
        """Train this task's rows of the head on frozen features (docs/method.md 6): ``(classes, d)``."""
        if not self.settings.uses_head:
            return torch.zeros(len(task.names), self.backbone.width, device=self.backbone.device)
        return train_head(self.encode(task.pixels), task, self.settings, on_step)

    def predict(self, images: Sequence[Any]) -> Predictions:
        """Classify images among all learned classes. Raises ``InputError`` before anything was learned."""
        if not self.class_names:
            raise InputError("This model has learned no class yet: call learn first.")
        probabilities = self.probabilities(self.encode(self.pixels(images)))
        return Predictions(self.class_names, probabilities.cpu().numpy())

    def pixels(self, images: Sequence[Any]) -> Pixels:
        """Images prepared for this model's encoder; pass it instead of the images where they are used again."""
        return Pixels(images, self.backbone.transform)

    @torch.no_grad()
    def encode(self, pixels: Pixels) -> Tensor:
        """L2-normalised features ``(n, d)`` of prepared images, with the adapters as they are."""
        parts = torch.arange(len(pixels)).split(self.settings.encode_batch_size)
        features = [self.backbone.image_features(pixels.batch(part)) for part in parts if len(part)]
        return torch.cat(features) if features else torch.empty(0, self.backbone.width, device=self.backbone.device)

    @torch.no_grad()
    def text_features(self, names: Sequence[str]) -> Tensor:
        """Text features ``(len(names), d)`` of classes; a text is encoded once for each state of the adapters."""
        new = [name for name in dict.fromkeys(names) if name not in self._texts]
        for start in range(0, len(new), self.settings.encode_batch_size):
            part = new[start : start + self.settings.encode_batch_size]
            tokens = self.backbone.tokenize([self.settings.prompt.format(name) for name in part])
            self._texts.update(zip(part, self.backbone.text_features(tokens), strict=True))
        return torch.stack([self._texts[name] for name in names])

    def text_logits(self, features: Tensor, names: Sequence[str]) -> Tensor:
        """Logits ``(b, len(names))`` of the text branch alone, over any classes: zero-shot for those not learned."""
        return self.backbone.logit_scale * features @ self.text_features(names).T

    def probabilities(self, features: Tensor) -> Tensor:
        """Probabilities ``(b, classes)`` over all learned classes, from the branches the settings name (docs/method.md 7)."""
        if self.settings.branches == "image":
            return cosines(features, self.head).softmax(-1)
        logits = self.text_logits(features, self.class_names)
        if self.settings.branches == "text":
            return logits.softmax(-1)
        return fuse(
            logits, cosines(features, self.head), vision_weight=self.settings.vision_weight, mode=self.settings.fusion
        )
