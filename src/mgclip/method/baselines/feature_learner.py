"""A learner around a classifier on features of a CLIP, with the interface of ``MGCLIP``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from mgclip.clip import parallel
from mgclip.clip.adapters import adapter_state, set_adapter_state
from mgclip.clip.ambient import in_ordinary_modes
from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder, check_finite
from mgclip.errors import InputError, MGCLIPError, first_line
from mgclip.home import in_home
from mgclip.method.analytic.calibration import Calibration
from mgclip.method.baselines.feature_classifier import FeatureClassifier, FeatureTask
from mgclip.method.baselines.method_code import method_code, weights_unchanged
from mgclip.method.methods import METHODS
from mgclip.method.predictions import Predictions, candidate_texts, without_article
from mgclip.method.prepare import prepare, unchanged_on_failure
from mgclip.method.preservation import LearnResult, preserve
from mgclip.method.settings import Settings
from mgclip.method.task import make_task
from mgclip.method.training import OnStep
from mgclip.registry import OWN_PACKAGE
from mgclip.saving.checkpoints import TaskCheckpoints
from mgclip.saving.store import MANIFEST, base_entry, check_base, damaged, read_manifest, read_tensors, write_state
from mgclip.words import described_classes

STATE = "baseline.safetensors"
BASELINE = "baseline"
"""The entry of a manifest that names the method."""
AS_SCORED = Calibration(head=1.0, text=0.0)
"""Probabilities are the softmax of the classifier's scores."""


class _CopyingEncoder(Encoder):
    """Gives each caller text features of its own, because code for CLIP often changes them in place."""

    def texts(self, names: Sequence[str]) -> Tensor:
        """Return L2-normalised text features ``(len(names), d)`` of classes."""
        return super().texts(names).clone()


class FeatureLearner:
    """A method with its ``classifier`` and its ``own`` settings, as a recipe names them.

    The adapters stay as they are, unless the classifier trains them or ``adapts_first``.
    """

    @in_ordinary_modes
    def __init__(
        self,
        name: str,
        backbone: Backbone,
        settings: Settings,
        classifier: FeatureClassifier,
        own: Mapping[str, Any],
    ) -> None:
        self.name, self.backbone, self.settings, self.classifier, self.own = name, backbone, settings, classifier, own
        self.class_names: tuple[str, ...] = ()
        self.class_texts: tuple[str, ...] = ()
        self.task_sizes: tuple[int, ...] = ()
        self.epochs = 0
        prepare(backbone, settings if classifier.adapts_first else settings.model_copy(update={"adapter_init": None}))
        batch = settings.encode_batch_size
        self.encoder: Encoder = _CopyingEncoder(backbone, prompt=settings.prompt, batch_size=batch, normalise=False)

    def __repr__(self) -> str:
        """The method, its CLIP, and its classes."""
        return f"<{self.name} of {self.backbone.reference}, {described_classes(self.class_names)}>"

    @in_ordinary_modes
    def learn(
        self,
        images: Any,
        labels: ArrayLike,
        class_names: Sequence[str],
        *,
        class_texts: Sequence[str] | Mapping[str, str] | None = None,
        on_step: OnStep = lambda step: None,
        checkpoints: TaskCheckpoints | None = None,
    ) -> LearnResult:
        """Learn one task, as ``MGCLIP.learn`` does; ``checkpoints`` are of the training of the adapters, if any."""
        self.encoder.require_own_adapters()
        self.backbone.agree_on_precision()
        index, known = len(self.task_sizes), self.class_names
        pixels, grows = self.encoder.pixels(images), METHODS[self.name].grows
        task = make_task(pixels, labels, class_names, index=index, known=known, class_texts=class_texts, grows=grows)
        parallel.check_same_in_all_processes("task", task.facts)
        new, added = task.new_classes(known)
        names, all_texts = (*known, *new), (*self.class_texts, *added)
        result, checkpoints = LearnResult(index, epochs=0), checkpoints or TaskCheckpoints()
        with unchanged_on_failure(self.backbone, index, checkpoints, self._restorer()):
            if self.classifier.adapts_first and index == 0:
                epochs = None if self.settings.epochs == "auto" else self.settings.epochs
                result = preserve(self.backbone, task, self.settings, epochs, on_step, checkpoints)
            features = self.encoder.images(task.pixels, shared=True)
            check_finite(features)
            self.encoder.texts(added)
            texts = self.encoder.texts(all_texts)
            own = task.places_among(names)[task.labels].to(features.device)
            learned = FeatureTask(index, len(known), features, own, texts, all_texts, task.pixels)
            before = adapter_state(self.backbone)
            with self._code(f"learned task {index + 1}"), weights_unchanged(self.name, self.backbone):
                self.classifier.learn(learned, on_step)
            if any(not torch.equal(before[name], weight) for name, weight in adapter_state(self.backbone).items()):
                self.backbone.weights_changed()
            self.epochs = result.epochs or self.epochs
            self.class_names, self.class_texts = names, all_texts
            self.task_sizes += (len(new),)
        return result

    def _code(self, action: str) -> contextlib.AbstractContextManager[None]:
        """Run code of the method; ``action`` completes the sentence *the method failed when it ...*."""
        return method_code(self.name, action, self.backbone, seed=self.settings.seed, step=len(self.task_sizes) + 1)

    def _restorer(self) -> Callable[[], None]:
        """A function that restores everything learned until now, besides the adapters.

        The classifiers of this package replace their tensors, which may take a GB. Others may change them in place, such as by an
        optimizer, so these are copied.
        """
        known = {name: getattr(self, name) for name in ("class_names", "class_texts", "task_sizes", "epochs")}
        before: dict[str, Any] = {name: getattr(self.classifier, name, None) for name in self.classifier.learned}
        in_place = METHODS.package(self.name) != OWN_PACKAGE
        copies = {name: value.detach().clone() for name, value in before.items() if in_place and isinstance(value, Tensor)}

        def restore() -> None:
            for name, value in before.items():
                if name in copies:
                    value.data = copies[name]
                setattr(self.classifier, name, value)
            vars(self).update(known)

        return restore

    @in_ordinary_modes
    @torch.no_grad()
    def head_scores(self, features: Tensor) -> Tensor:
        """Scores ``(b, classes)`` of the classifier for features ``(b, d)``."""
        with self._code("scored images"):
            texts = self.classifier.text_features(self.encoder, self.class_texts)
            scores = self.classifier.scores(features.clone(), texts)  # it may change them in place, and others use them too
            _check("scores", scores, (len(features), len(self.class_names)))
            if scores.amax(-1).isinf().any():  # a class may have minus infinity, which never wins
                raise ValueError("the largest score of an image must be finite; found infinity")
        return scores

    @torch.no_grad()
    def probabilities(self, features: Tensor, among: slice = slice(None)) -> Tensor:
        """Scores ``(b, classes)`` over all learned classes, or ``among`` some of them, as probabilities."""
        return self.head_scores(features)[:, among].softmax(-1)

    @in_ordinary_modes
    @torch.no_grad()
    def text_logits(self, features: Tensor, class_texts: Sequence[str]) -> Tensor:
        """Logits ``(b, len(class_texts))`` of the text branch alone, over any classes."""
        with self._code("compared images with texts"):
            adapted = F.normalize(self.classifier.adapt(features.clone()), dim=-1)
            texts = self.classifier.text_features(self.encoder, class_texts)
            _check("text features", texts, (len(class_texts), adapted.shape[-1]))
            return self.backbone.logit_scale * adapted @ texts.T

    @in_ordinary_modes
    @torch.no_grad()
    def predict(self, images: Any, *, candidates: Sequence[str] = ()) -> Predictions:
        """Classify images, as ``MGCLIP.predict`` does."""
        candidates = candidate_texts(candidates, self.class_names)  # checked before any image is opened
        return self.classify(self.encoder.images(self.encoder.pixels(images, keep_bytes=0)), candidates=candidates)

    def classify(self, features: Tensor, *, candidates: Sequence[str] = ()) -> Predictions:
        """Classify images by their features ``(b, d)``; the texts decide on ``candidates``, as in ``MGCLIP.classify``."""
        candidates = candidate_texts(candidates, self.class_names)
        logits = self.text_logits(features, (*self.class_texts, *map(without_article, candidates)))
        scores, scale = self.head_scores(features), float(self.backbone.logit_scale)
        alone = self.settings.model_copy(update={"branches": "image"})
        return Predictions(self.class_names, candidates, logits, scores, scale, alone, AS_SCORED)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write everything learned, completely or not at all."""
        from safetensors.torch import save_file

        self.encoder.require_own_adapters()
        tensors = {f"adapter.{name}": weight for name, weight in adapter_state(self.backbone).items()}
        for name in self.classifier.learned:
            value = getattr(self.classifier, name, None)
            if not isinstance(value, Tensor):
                found = type(value).__name__ if hasattr(self.classifier, name) else "no such attribute"
                raise MGCLIPError(
                    f"In the method {self.name}, the attribute {name} in `learned` must be a tensor; found {found}."
                )
            tensors[f"classifier.{name}"] = value
        cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        manifest = {
            BASELINE: self.name,
            "base": base_entry(self.backbone),
            "settings": self.settings.model_dump(exclude={"adapter_init"}),
            "own": dict(self.own),
            "epochs": self.epochs,
            "task_sizes": list(self.task_sizes),
            "class_names": list(self.class_names),
            "class_texts": list(self.class_texts),
        }
        if parallel.is_main():
            write_state(Path(in_home(folder)), manifest, lambda state: save_file(cpu, state / STATE))

    @in_ordinary_modes
    def restore(self, folder: Path) -> None:
        """Resume from what ``save_pretrained`` wrote. Raises ``InputError`` if it is damaged or of another method."""
        manifest, state = read_manifest(folder)
        try:
            if manifest[BASELINE] != self.name:
                raise InputError(f"{folder} holds the method {manifest[BASELINE]}, not {self.name}.")
            check_base(folder, self.backbone, **manifest["base"])
            sizes, names, texts = (tuple(manifest[key]) for key in ("task_sizes", "class_names", "class_texts"))
            if not sum(sizes) == len(names) == len(texts):
                raise ValueError(f"{sum(sizes)} classes in the tasks, {len(names)} names and {len(texts)} texts")
            epochs = int(manifest["epochs"])
            tensors = {n: t.to(self.backbone.device) for n, t in read_tensors(state / STATE, "baseline").items()}
            adapters = {n.removeprefix("adapter."): t for n, t in tensors.items() if n.startswith("adapter.")}
            set_adapter_state(self.backbone, adapters)
            learned = {name: tensors[f"classifier.{name}"] for name in self.classifier.learned}
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder / MANIFEST, first_line(error)) from None
        with METHODS.naming_errors(self.name, "was given what it had learned"):
            for name, value in learned.items():
                fresh = getattr(self.classifier, name, None)
                kept = torch.nn.Parameter(value, fresh.requires_grad) if isinstance(fresh, torch.nn.Parameter) else value
                setattr(self.classifier, name, kept)
        self.class_names, self.class_texts, self.task_sizes, self.epochs = names, texts, sizes, epochs
        # Encode them in the same groups as before, because a batch of another size rounds differently.
        for last, size in zip(np.cumsum(sizes), sizes, strict=True):
            self.encoder.texts(texts[last - size : last])


def _check(what: str, found: Any, shape: tuple[int, int]) -> None:
    """Raise ``ValueError`` if what a classifier returned is not a tensor of numbers of this shape."""
    if not isinstance(found, Tensor) or not found.is_floating_point():
        kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"{what} must be a floating-point tensor; found {kind}")
    if tuple(found.shape) != shape:
        raise ValueError(f"{what} must have the shape {shape}; found {tuple(found.shape)}")
    if found.isnan().any():
        raise ValueError(f"{what} must be numbers; found NaN")
