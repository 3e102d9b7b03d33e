"""A classifier on frozen features: a Gaussian for each class, all with the same covariance, which is shrunk to a multiple of I.

Linear discriminant analysis from running sums, so the order of tasks does not matter and no image is kept.
"""

from typing import Annotated

import torch
from pydantic import BaseModel, Field

from mgclip import FeatureClassifier, Method


class GaussianSettings(BaseModel):
    """In a recipe: ``gaussian_classes_shrinkage``."""

    shrinkage: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the multiple of I in the covariance."""


class GaussianClasses(FeatureClassifier):
    """Means ``(c, d)``, the scatter within classes ``(d, d)``, and the number of images behind it."""

    learned = ("means", "scatter", "count")

    def __init__(self, backbone, settings, own):
        super().__init__(backbone, settings, own)
        width, device = backbone.feature_dim, backbone.device
        self.means = torch.zeros(0, width, device=device)
        self.scatter = torch.zeros(width, width, device=device)
        self.count = torch.zeros((), device=device)

    def learn(self, task, on_step):
        """Add the means of the new classes, and the scatter around them."""
        features = torch.nn.functional.normalize(task.features, dim=-1)
        new = range(task.first, len(task.texts))
        means = torch.stack([features[task.labels == label].mean(0) for label in new])
        centred = features - means[task.labels - task.first]
        self.means = torch.cat([self.means, means])
        self.scatter = self.scatter + centred.T @ centred
        self.count = self.count + len(features)

    def scores(self, features, texts):
        """The log-density of each class, up to a constant: x S^-1 m - m S^-1 m / 2."""
        share, width = self.own.shrinkage, len(self.scatter)
        covariance = self.scatter / self.count
        spread = covariance.diagonal().mean()
        eye = torch.eye(width, device=covariance.device)
        weights = torch.linalg.solve((1 - share) * covariance + (share * spread + 1e-6) * eye, self.means.T)  # (d, c)
        return torch.nn.functional.normalize(features, dim=-1) @ weights - (self.means.T * weights).sum(0) / 2


METHOD = Method(
    about="Gaussian classes with one shrunk covariance",
    source="an example",
    classifier=GaussianClasses,
    settings=GaussianSettings,
)
