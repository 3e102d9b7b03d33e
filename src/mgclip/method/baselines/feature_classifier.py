"""What a method with its own code provides: a classifier on features of a CLIP, and the task that it learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from mgclip.clip.backbone import Backbone
from mgclip.clip.encoder import Encoder
from mgclip.clip.pixels import PreparedImages
from mgclip.method.settings import Settings
from mgclip.method.training import OnStep


@dataclass(frozen=True)
class FeatureTask:
    """One task as features.

    Attributes:
        index: The index of the task.
        first: The label of its first new class. Smaller labels are of classes learned before, if the method grows.
        features: Image features ``(n, d)``, not normalised.
        labels: Positions among all classes so far ``(n,)``.
        texts: Normalised text features of all classes so far ``(c, d)``.
        class_texts: What prompts call all classes so far.
        pixels: The images, for a method that trains the CLIP: ``pixels.batch(positions)`` is the input of
            ``backbone.image_features``.
    """

    index: int
    first: int
    features: Tensor
    labels: Tensor
    texts: Tensor
    class_texts: tuple[str, ...] = ()
    pixels: PreparedImages | None = None


class FeatureClassifier:
    """A method with its own code: it learns tasks and scores images by their features, which are not normalised.

    A subclass defines ``learn`` and ``scores``, and names in ``learned`` what must be saved. It may also train the adapters of
    the CLIP, which are saved too.

    Args:
        backbone: The CLIP.
        settings: The settings of MG-CLIP, of which it may use any.
        own: Its own settings, if the ``Method`` names a model of them.

    Attributes:
        learned: The names of the attributes, all of them tensors, that hold what it has learned.
        adapts_first: Whether the adapters are trained on the first task as MG-CLIP does, before ``learn`` is called.
    """

    learned: tuple[str, ...] = ()
    adapts_first: bool = False

    def __init__(self, backbone: Backbone, settings: Settings, own: BaseModel | None) -> None:
        self.backbone, self.settings = backbone, settings
        self.own: Any = own  # a subclass knows its model

    def learn(self, task: FeatureTask, on_step: OnStep) -> None:
        """Learn one task. ``on_step`` is called after each optimizer step, if there are any."""
        raise NotImplementedError

    def scores(self, features: Tensor, texts: Tensor) -> Tensor:
        """Scores ``(b, c)`` of features ``(b, d)`` over all classes so far; their softmax is the probability of each class.

        ``texts`` ``(c, d)`` are what ``text_features`` returns for these classes.
        """
        raise NotImplementedError

    def adapt(self, features: Tensor) -> Tensor:
        """The features ``(b, d)`` that its text branch compares with texts."""
        return features

    def text_features(self, encoder: Encoder, class_texts: Sequence[str]) -> Tensor:
        """Normalised text features ``(len(class_texts), d)`` of any classes; ``encoder.texts`` computes those of the CLIP."""
        return encoder.texts(class_texts)
