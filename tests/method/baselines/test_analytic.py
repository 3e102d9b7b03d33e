"""The solved head as a method: it grows task by task, predicts with both branches, and resumes exactly."""

import torch
import torch.nn.functional as F

from mgclip import Settings
from mgclip.clip.load import load_backbone
from mgclip.method.analytic import FourierFeatures, Sums, solve
from mgclip.method.baselines.analytic import AnalyticClassifier
from mgclip.method.baselines.features import FeatureTask
from mgclip.method.baselines.settings import BaselineSettings

FEW = BaselineSettings(features=64)


def tasks(width, sizes, per_class=8):
    """Tasks of random features around one centre per class, and texts of all classes so far."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(sum(sizes), width, generator=generator)
    texts = F.normalize(torch.randn(sum(sizes), width, generator=generator), dim=-1)
    first = 0
    for index, size in enumerate(sizes):
        labels = torch.arange(first, first + size).repeat_interleave(per_class)
        features = 3 * centres[labels] + torch.randn(len(labels), width, generator=generator)
        yield FeatureTask(index, first, features, labels, texts[: first + size])
        first += size


def learned(clip, sizes, **settings):
    classifier = AnalyticClassifier(load_backbone(clip), Settings(**settings), FEW)
    every = list(tasks(classifier.dim, sizes))
    for task in every:
        classifier.learn(task, lambda step: None)
    return classifier, every


def test_the_head_is_the_solution_over_all_images(tiny_clip):
    classifier, every = learned(tiny_clip, [3, 2])
    features = torch.cat([F.normalize(task.features, dim=-1) for task in every])
    labels = torch.cat([task.labels for task in every])
    fourier = FourierFeatures(classifier.dim, 64, classifier.gamma, seed=0)
    weights = solve(Sums.empty(65).plus(fourier(features), labels)).weights
    assert (classifier.weights - weights).abs().max() <= 1e-8 * weights.abs().max()


def test_the_split_into_tasks_changes_nothing_if_gamma_is_given(tiny_clip, monkeypatch):
    monkeypatch.setitem(globals(), "FEW", BaselineSettings(features=64, gamma=0.5))
    one, _ = learned(tiny_clip, [3, 2])
    other, _ = learned(tiny_clip, [5])
    assert one.gamma == other.gamma == 0.5
    assert (one.weights - other.weights).abs().max() <= 1e-8 * one.weights.abs().max()


def test_it_finds_the_classes_and_uses_the_branches_of_the_settings(tiny_clip):
    both, every = learned(tiny_clip, [3, 2])
    last = every[-1]
    assert (both.scores(last.features, last.texts).argmax(1) == last.labels).float().mean() > 0.9
    image, _ = learned(tiny_clip, [3, 2], branches="image")
    text, _ = learned(tiny_clip, [3, 2], branches="text")
    logits = text.scores(last.features, last.texts)
    assert torch.equal(logits, text.scale * F.normalize(last.features, dim=-1).double() @ last.texts.double().T)
    used = both.calibration
    mixed = image.scores(last.features, last.texts) + used.text * logits
    torch.testing.assert_close(both.scores(last.features, last.texts), mixed)
