"""A learner that trains, with a loss of its own: one vector that is added to the word embeddings of every prompt.

The images are those of the frozen CLIP. The loss is a cross-entropy with smoothed labels, and a penalty that keeps the texts near
those of the CLIP. The module also offers a data set, so that there is something to try it on.
"""

from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field

from mgclip import Dataset, DatasetEntry, FeatureClassifier, Method, Split
from mgclip.method.training import Phase


class ContextSettings(BaseModel):
    """In a recipe each name begins with ``learned_context_``."""

    epochs: Annotated[int, Field(ge=1)] = 3
    rate: Annotated[float, Field(gt=0)] = 2e-3
    batch_size: Annotated[int, Field(ge=1)] = 64
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    keep: Annotated[float, Field(ge=0)] = 10.0
    """Weight of the penalty on texts that move away from those of the CLIP."""


class LearnedContext(FeatureClassifier):
    """``context`` ``(w,)`` is added to every word embedding of the text tower."""

    learned = ("context",)

    def __init__(self, backbone, settings, own):
        super().__init__(backbone, settings, own)
        self.context = torch.zeros(backbone.model.config.text_config.hidden_size, device=backbone.device)

    def learn(self, task, on_step):
        """Train the vector on the classes of this task."""
        own, settings = self.own, self.settings
        phase = Phase(
            "learned-context", task.index, own.epochs, own.rate, own.rate, own.batch_size, settings.seed, settings.shuffle
        )
        images, labels = F.normalize(task.features, dim=-1), task.labels - task.first
        tokens = self.backbone.class_tokens(settings.templates, task.class_texts[task.first :])
        start, scale = task.texts[task.first :], self.backbone.logit_scale
        context = torch.nn.Parameter(self.context.clone())
        optimizer = torch.optim.Adam([context], lr=own.rate)
        for epoch in range(1, own.epochs + 1):
            for step, picked in phase.batches(len(labels), epoch):
                texts = self.encode(tokens, context)
                loss = F.cross_entropy(scale * images[picked] @ texts.T, labels[picked], label_smoothing=own.smoothing)
                loss = loss + own.keep * (1 - (texts * start).sum(-1)).mean()
                made = phase.step(epoch, step, len(labels), len(picked), loss)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                on_step(made)
        self.context = context.detach()

    def encode(self, tokens, context):
        """Text features ``(c, d)`` with the vector added to every word embedding."""
        words = self.backbone.model.text_model.embeddings.token_embedding
        hook = words.register_forward_hook(lambda module, given, found: found + context)
        try:
            return self.backbone.text_features(tokens)
        finally:
            hook.remove()

    def text_features(self, encoder, class_texts):
        """The text features ``(c, d)`` that the trained vector gives."""
        return self.encode(self.backbone.class_tokens(self.settings.templates, class_texts), self.context)

    def scores(self, features, texts):
        """CLIP's logits with these texts."""
        return self.backbone.logit_scale * F.normalize(features, dim=-1) @ texts.T


METHOD = Method(
    about="a trained vector in every prompt, kept near CLIP's own texts",
    source="an example, after CoOp (Zhou et al., IJCV 2022, arXiv 2109.01134)",
    classifier=LearnedContext,
    settings=ContextSettings,
)

NAMES = ("circle", "cross", "plus", "ring", "square", "triangle")


def draw(name, rng):
    """A dark shape at a random place on light ground, ``(48, 48, 3)``."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j] + rng.uniform(-0.25, 0.25, (2, 1, 1))
    away, size = np.hypot(x, y), rng.uniform(0.45, 0.65)
    inside = {
        "circle": away < size,
        "cross": (np.minimum(abs(x - y), abs(x + y)) < 0.22) & (away < size),
        "plus": (np.minimum(abs(x), abs(y)) < 0.16) & (away < size),
        "ring": abs(away - size) < 0.12,
        "square": np.maximum(abs(x), abs(y)) < size * 0.8,
        "triangle": (y < size * 0.7) & (y > 2 * abs(x) - size),
    }[name]
    grey = np.where(inside[..., None], rng.uniform(0, 80, 3), rng.uniform(180, 255, 3))
    return np.clip(grey + rng.normal(0, 8, (48, 48, 3)), 0, 255).astype(np.uint8)


def make_shapes(test_only):
    """Twelve training and eight test images of each shape, the same in every run."""

    def split(part, number):
        labels = np.arange(len(NAMES)).repeat(number)
        images = [draw(NAMES[label], np.random.default_rng([part, place])) for place, label in enumerate(labels)]
        return Split(images, labels)

    return Dataset("shapes", NAMES, split(0, 0 if test_only else 12), split(1, 8))


SHAPES = DatasetEntry("shapes, drawn", "this package", "made when it is used", classes=len(NAMES), make=make_shapes)
