"""ACIL, against its closed form on all images at once and against the recursive updates of its authors."""

import numpy as np
import torch
from learned import feature_tasks

from mgclip import Settings
from mgclip.method.analytic.ridge_regression import solve
from mgclip.method.analytic.sums import Sums
from mgclip.method.baselines.acil import ACIL
from mgclip.method.baselines.feature_classifier import FeatureTask
from mgclip.method.baselines.settings import ACILSettings
from mgclip.method.methods import METHODS

WIDTH, RIDGE = 60, 0.1


def learned(backbone, tasks):
    model = ACIL(backbone, Settings(seed=3), ACILSettings(width=WIDTH, ridge=RIDGE))
    for task in tasks:
        model.learn(task, lambda step: None)
    return model


def expanded(model, task):
    """The random features of a task's images and their targets over four classes, by numpy."""
    hidden = np.maximum(task.features.numpy().astype(np.float64) @ model.projection.numpy(), 0)
    return hidden, np.eye(4)[task.labels.numpy()]


def tasks_with_a_class_that_returns(backbone):
    first, second = feature_tasks(backbone.feature_dim, [3, 1], 30)
    back = first.labels == 1
    again = FeatureTask(
        1,
        3,
        torch.cat([second.features, first.features[back][:10]]),
        torch.cat([second.labels, first.labels[back][:10]]),
        second.texts,
    )
    left = torch.ones(len(first.labels), dtype=torch.bool)
    left[torch.nonzero(back)[:10]] = False
    return FeatureTask(0, 0, first.features[left], first.labels[left], first.texts), again


def test_acil_is_ridge_regression_on_all_images_at_once(backbone):
    tasks = tasks_with_a_class_that_returns(backbone)
    model = learned(backbone, tasks)
    hidden, wanted = (np.concatenate(parts) for parts in zip(*(expanded(model, task) for task in tasks), strict=True))
    assert len(hidden) == 120
    weights = np.linalg.solve(hidden.T @ hidden + RIDGE * np.eye(WIDTH), hidden.T @ wanted)
    np.testing.assert_allclose(model.weights.numpy(), weights, rtol=0, atol=1e-8)
    scores = model.scores(tasks[1].features, tasks[1].texts).numpy()
    np.testing.assert_allclose(scores, expanded(model, tasks[1])[0] @ weights, rtol=0, atol=1e-8)
    assert model.counts.tolist() == [30, 30, 30, 30]


def test_acil_equals_the_recursive_updates_of_its_authors(backbone):
    tasks = tasks_with_a_class_that_returns(backbone)
    model = learned(backbone, tasks)
    inverse, weights = np.eye(WIDTH) / RIDGE, np.zeros((WIDTH, 4))
    for task in tasks:
        hidden, wanted = expanded(model, task)
        for rows in np.array_split(np.arange(len(hidden)), 7):
            x, y = hidden[rows], wanted[rows]
            inverse -= inverse @ x.T @ np.linalg.solve(np.eye(len(x)) + x @ inverse @ x.T, x @ inverse)
            weights += inverse @ x.T @ (y - x @ weights)
    np.testing.assert_allclose(model.weights.numpy(), weights, rtol=0, atol=1e-8)


def test_acil_is_the_solved_head_without_class_balance(backbone):
    """The head scales both sides of the equations by C / n, and so the ridge."""
    model = learned(backbone, tasks_with_a_class_that_returns(backbone))
    sums = Sums(model.gram, model.targets, model.counts, class_balance=False)
    weights = solve(sums, sums.share * RIDGE).weights
    torch.testing.assert_close(model.weights, weights, rtol=1e-9, atol=1e-9 * weights.abs().max().item())


def test_the_projection_is_drawn_as_its_authors_do(backbone):
    model = learned(backbone, [])
    projection, bound = model.projection.numpy(), backbone.feature_dim**-0.5
    assert projection.shape == (backbone.feature_dim, WIDTH)
    assert 0.98 * bound < projection.max() <= bound
    assert -bound <= projection.min() < -0.98 * bound
    assert abs(projection.std() - bound / np.sqrt(3)) < 0.03 * bound
    other = ACIL(backbone, Settings(seed=4), ACILSettings(width=WIDTH))
    assert not torch.equal(other.projection, model.projection)


def test_the_defaults_are_those_published_for_cifar100():
    defaults = METHODS["acil"].settings()
    assert (defaults.width, defaults.ridge) == (8192, 0.1)
