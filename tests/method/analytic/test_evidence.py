"""The evidence for adapters against explicit computations."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mgclip.method.analytic import evidence as module
from mgclip.method.analytic.decision import Decision, describe_decision
from mgclip.method.analytic.evidence import Evidence, squared_errors
from mgclip.method.analytic.random_features import RandomFeatures, median_gamma
from mgclip.method.analytic.ridge_regression import solve
from mgclip.method.analytic.sums import Sums

DIM = 8


def images(per_class, noise, seed=0):
    """Normalised features around one direction per class, and labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(len(per_class), DIM, generator=generator)
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(per_class)])
    scatter = torch.randn(len(labels), DIM, generator=generator)
    return F.normalize(centres[labels] + noise * scatter, dim=-1), labels


def test_adapters_help_if_unseen_images_are_easier_with_them():
    hard, labels = images([20] * 5, noise=1.0)
    easy, _ = images([20] * 5, noise=0.6)
    assert Evidence().plus(hard, easy, labels).decision.kept
    worse = Evidence().plus(easy, hard, labels)
    assert not worse.decision.kept
    assert worse.deviations < -2


def test_no_difference_is_no_evidence():
    features, labels = images([10] * 4, noise=0.5)
    same = Evidence().plus(features, features, labels)
    assert same.deviations == 0
    assert not same.decision.kept
    assert not Evidence().decision.kept
    other, _ = images([10] * 4, noise=0.5, seed=7)
    assert abs(Evidence().plus(features, F.normalize(features + 1e-4 * other, dim=-1), labels).deviations) < 3


def test_the_images_of_all_tasks_are_compared_in_pairs():
    evidence, differences = Evidence(), []
    for seed in range(3):
        hard, labels = images([6, 9, 12], noise=0.9, seed=seed)
        easy, _ = images([6, 9, 12], noise=0.8, seed=seed)
        evidence = evidence.plus(hard, easy, labels)
        differences.append(squared_errors(hard, labels) - squared_errors(easy, labels))
    pairs = torch.cat(differences)
    assert evidence.images == len(pairs) == 81
    assert evidence.deviations == pytest.approx((pairs.mean() / (pairs.std() / 81**0.5)).item())
    assert evidence.frozen - evidence.adapted == pytest.approx(pairs.sum().item())


def test_squared_errors_are_those_of_heads_that_have_not_learned_the_image():
    features, labels = images([5, 3, 8], noise=0.7)
    phi = RandomFeatures(DIM, module.WIDTH, median_gamma(features), seed=0)(features)
    empty = Sums.empty(module.WIDTH + 1)
    ridge = solve(empty.plus(phi, labels)).ridge
    expected = []
    for image in range(len(labels)):
        rest = torch.arange(len(labels)) != image
        without = replace(empty.plus(phi[rest], labels[rest]), forgotten=1)  # C / n stays that of all images
        scores = phi[image] @ solve(without, ridge).weights
        expected.append((F.one_hot(labels[image], 3) - scores).square().sum().item())
    assert squared_errors(features, labels).tolist() == pytest.approx(expected, rel=1e-6)


def test_exactly_one_standard_error_is_too_little():
    limit = Evidence(images=4, frozen=5.0, adapted=1.0, squares=16.0)  # mean 1, variance (16 - 4) / 3
    assert limit.decision == Decision(False, 4, 1.0)
    assert replace(limit, squares=15.9).decision.kept


def test_the_order_of_images_and_the_numbers_of_classes_do_not_matter():
    features, labels = images([7, 9, 8], noise=0.7)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    one = Evidence().plus(features, features.flip(1), labels)
    other = Evidence().plus(features[order], features[order].flip(1), 5 + 3 * labels[order])
    assert (one.images, one.frozen) == (other.images, pytest.approx(other.frozen))


def test_classes_that_cannot_be_compared_are_left_out():
    features, labels = images([10, 1, 10], noise=0.5)
    assert Evidence().plus(features, features, labels).images == 20
    assert Evidence().plus(features[:10], features[:10], labels[:10]) == Evidence()
    singles = torch.tensor([0, 10, 11])
    assert Evidence().plus(features[singles], features[singles], labels[singles]) == Evidence()


def test_of_many_images_every_class_has_its_share(monkeypatch):
    monkeypatch.setattr(module, "IMAGES", 12)
    features, labels = images([40, 20], noise=0.5)
    seen = []
    monkeypatch.setattr(module, "squared_errors", lambda part, own: seen.append(own) or squared_errors(part, own))
    assert Evidence().plus(features, features, labels).images == 12
    assert torch.bincount(seen[0]).tolist() == [8, 4]


def test_the_evidence_of_two_models_adds_up():
    hard, labels = images([6, 9], noise=0.9)
    easy, _ = images([6, 9], noise=0.8)
    one, other = Evidence().plus(hard, easy, labels), Evidence().plus(easy, hard, labels)
    assert one.joined(other).images == 30
    assert one.joined(other).deviations == pytest.approx(0, abs=1e-9)
    assert one.joined(Evidence()) == one


@pytest.mark.parametrize(
    ("deviations", "images", "sentence"),
    [
        (4.71, 450, "The adapters continue to learn, because they lower the error of 450 images that they had not seen by 4.7"),
        (0.82, 1450, "The adapters were removed, because they lower the error of 1,450 images that they had not seen by 0.8"),
        (-0.04, 20, "The adapters were removed, because they lower the error of 20 images that they had not seen by 0.0"),
        (-2.8, 9, "The adapters were removed, because they raise the error of 9 images that they had not seen by 2.8"),
    ],
)
def test_a_decision_is_one_sentence(deviations, images, sentence):
    found = describe_decision(Decision(deviations > 1, images, deviations))
    assert found.startswith(sentence)
    assert found.endswith(" only; more than 1 is needed." if -0.1 < deviations < 1 else " standard errors.")
