"""A learner that keeps CLIP frozen and learns a classifier on its features, with the interface of ``MGCLIP``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.adapters import adapter_state, set_adapter_state
from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder
from mgclip.clip.pixels import PreparedImages
from mgclip.errors import InputError, first_line
from mgclip.method.baselines.features import FeatureClassifier, FeatureTask
from mgclip.method.prepare import adapters_restored_on_failure, prepare
from mgclip.method.preservation import LearnResult, preserve
from mgclip.method.settings import Settings
from mgclip.method.task import make_task
from mgclip.method.training import OnStep
from mgclip.saving.checkpoints import TaskCheckpoints
from mgclip.saving.store import MANIFEST, base_entry, check_base, damaged, read_manifest, read_tensors, write_state

STATE = "baseline.safetensors"


class FrozenLearner:
    """A baseline with its ``classifier``; with ``adapt_first`` the adapters are trained on the first task, then frozen."""

    def __init__(
        self,
        name: str,
        backbone: Backbone,
        settings: Settings,
        classifier: FeatureClassifier,
        *,
        adapt_first: bool = False,
    ) -> None:
        self.name, self.backbone, self.settings, self.classifier = name, backbone, settings, classifier
        self.adapt_first = adapt_first
        self.class_names: tuple[str, ...] = ()
        self.class_texts: tuple[str, ...] = ()
        self.task_sizes: tuple[int, ...] = ()
        self.epochs = 0
        prepare(backbone, settings if adapt_first else settings.model_copy(update={"adapter_init": None}))
        self.encoder = Encoder(backbone, prompt=settings.prompt, batch_size=settings.encode_batch_size, normalise=False)

    def learn(
        self,
        images: Sequence[Any] | PreparedImages,
        labels: ArrayLike,
        class_names: Sequence[str],
        *,
        class_texts: Sequence[str] | None = None,
        on_step: OnStep = lambda step: None,
        checkpoints: TaskCheckpoints | None = None,
    ) -> LearnResult:
        """Learn one task, as ``MGCLIP.learn`` does; ``checkpoints`` are of the training of the adapters, if any."""
        self.encoder.require_own_adapters()
        index, known = len(self.task_sizes), self.class_names
        task = make_task(self.encoder.pixels(images), labels, class_names, index=index, known=known, class_texts=class_texts)
        result, checkpoints = LearnResult(index, epochs=0), checkpoints or TaskCheckpoints()
        with adapters_restored_on_failure(self.backbone, index, checkpoints):
            if self.adapt_first and index == 0:
                epochs = None if self.settings.epochs == "auto" else self.settings.epochs
                result = preserve(self.backbone, task, self.settings, epochs, on_step, checkpoints)
            features, first = self.encoder.images(task.pixels, shared=True), len(known)
            self.encoder.texts(task.texts)
            texts = self.encoder.texts((*self.class_texts, *task.texts))
            own = task.labels.to(features.device) + first
            self.classifier.learn(FeatureTask(index, first, features, own, texts), on_step)
        self.epochs = result.epochs or self.epochs
        self.class_names += task.names
        self.class_texts += task.texts
        self.task_sizes += (len(task.names),)
        return result

    @torch.no_grad()
    def probabilities(self, features: Tensor) -> Tensor:
        """Scores ``(b, classes)`` over all learned classes, as probabilities."""
        return self.classifier.scores(features, self.encoder.texts(self.class_texts)).softmax(-1)

    @torch.no_grad()
    def text_logits(self, features: Tensor, class_texts: Sequence[str]) -> Tensor:
        """Logits ``(b, len(class_texts))`` of the text branch alone, over any classes."""
        return self.encoder.logits(F.normalize(self.classifier.adapt(features), dim=-1), class_texts)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write everything learned, completely or not at all."""
        from safetensors.torch import save_file

        self.encoder.require_own_adapters()
        tensors = {f"adapter.{name}": weight for name, weight in adapter_state(self.backbone).items()}
        tensors |= {f"classifier.{name}": getattr(self.classifier, name) for name in self.classifier.learned}
        cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        manifest = {
            "baseline": self.name,
            "base": base_entry(self.backbone),
            "epochs": self.epochs,
            "task_sizes": list(self.task_sizes),
            "class_names": list(self.class_names),
            "class_texts": list(self.class_texts),
        }
        if parallel.is_main():
            write_state(Path(folder), manifest, lambda state: save_file(cpu, state / STATE))

    def restore(self, folder: Path) -> None:
        """Resume from what ``save_pretrained`` wrote. Raises ``InputError`` if it is damaged or of another method."""
        manifest, state = read_manifest(folder)
        try:
            if manifest["baseline"] != self.name:
                raise InputError(f"{folder} holds the method {manifest['baseline']}, not {self.name}.")
            check_base(folder, self.backbone, **manifest["base"])
            sizes, names, texts = (tuple(manifest[key]) for key in ("task_sizes", "class_names", "class_texts"))
            epochs = int(manifest["epochs"])
            tensors = {n: t.to(self.backbone.device) for n, t in read_tensors(state / STATE, "baseline").items()}
            adapters = {n.removeprefix("adapter."): t for n, t in tensors.items() if n.startswith("adapter.")}
            set_adapter_state(self.backbone, adapters)
            for name in self.classifier.learned:
                setattr(self.classifier, name, tensors[f"classifier.{name}"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder / MANIFEST, first_line(error)) from None
        self.class_names, self.class_texts, self.task_sizes, self.epochs = names, texts, sizes, epochs
        # Encode them in the same groups as before, because a batch of another size rounds differently.
        for last, size in zip(np.cumsum(sizes), sizes, strict=True):
            self.encoder.texts(texts[last - size : last])
