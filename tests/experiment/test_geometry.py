"""Every measure of the modality gap agrees with a direct computation."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from mgclip.experiment.geometry import cone, geometry, projection, separability


def units(count, width, seed, middle=0.0):
    points = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    points[:, 0] += middle
    return torch.nn.functional.normalize(points, dim=-1)


def test_the_measures_agree_with_a_direct_computation():
    images, texts, labels = units(12, 5, 0, 1.0), units(4, 5, 1), torch.arange(12) % 4
    found = geometry(images, labels, texts, logit_scale=50.0)
    x, t = images.numpy().astype(float), texts.numpy().astype(float)
    own = [x[i] @ t[labels[i]] for i in range(12)]
    others = [np.mean([x[i] @ t[c] for c in range(4) if c != labels[i]]) for i in range(12)]
    assert found.positive == pytest.approx(np.mean(own), abs=1e-6)
    assert found.negative == pytest.approx(np.mean(others), abs=1e-6)
    assert found.centroid_distance == pytest.approx(np.linalg.norm(x.mean(0) - t.mean(0)), abs=1e-6)
    pairs = [x[i] @ x[j] for i in range(12) for j in range(12) if i != j]
    assert found.image_cone == pytest.approx(np.mean(pairs), abs=1e-6)
    assert found.text_cone == pytest.approx(np.mean([t[i] @ t[j] for i in range(4) for j in range(4) if i != j]), abs=1e-6)
    assert found.accuracy == pytest.approx(np.mean((x @ t.T).argmax(1) == labels.numpy()))
    assert found.logit_scale == 50.0
    assert np.isnan(cone(images[:1]))


def test_separability_is_1_for_distant_modalities_and_near_half_for_mixed_ones():
    assert separability(units(60, 6, 0, 8.0), units(20, 6, 1, -8.0)) == 1.0
    assert 0.3 < separability(units(400, 6, 2), units(200, 6, 3)) < 0.7
    assert np.isnan(separability(units(9, 6, 0), units(3, 6, 1)))


def test_separability_does_not_depend_on_the_number_of_images():
    """Although there are ten times as many images as texts, both count as much."""
    assert 0.4 < separability(units(600, 6, 2), units(60, 6, 3)) < 0.6
    images, texts = units(800, 6, 4, 1.0), units(80, 6, 5)
    assert separability(images, texts) == pytest.approx(separability(images[:80], texts), abs=0.06)
    assert 0.6 < separability(images, texts) < 0.9


def test_separability_is_the_mean_of_the_shares_of_images_and_of_texts_that_are_recognised():
    images, texts = units(90, 6, 8), units(20, 6, 9, 1.0)  # texts are close together, images are not
    points, modality = torch.cat([images, texts]).numpy(), np.repeat([0, 1], [90, 20])
    shares, accuracies = [], []
    for fit, test in StratifiedKFold(5, shuffle=True, random_state=0).split(points, modality):
        model = LogisticRegression(C=100.0, class_weight="balanced", max_iter=2000).fit(points[fit], modality[fit])
        right = model.predict(points[test]) == modality[test]
        shares.append(np.mean([right[modality[test] == each].mean() for each in (0, 1)]))
        accuracies.append(right.mean())
    assert separability(images, texts) == pytest.approx(np.mean(shares))
    assert abs(np.mean(shares) - np.mean(accuracies)) > 1e-3


def test_each_modality_has_the_same_weight_in_the_projection():
    images, texts = units(12, 6, 6, 0.5), units(5, 6, 7)
    once, often = projection(images, texts), projection(images.repeat(9, 1), texts)
    for one, other in zip(once, (often[0][:12], often[1]), strict=True):
        np.testing.assert_allclose(np.abs(one), np.abs(other), atol=1e-5)  # an axis may point in either direction


def test_the_projection_shows_a_gap_and_keeps_distances_in_the_plane():
    images, texts = units(80, 6, 0, 6.0), units(8, 6, 1, -6.0)
    flat_images, flat_texts = projection(images, texts)
    assert (flat_images.shape, flat_texts.shape) == ((80, 2), (8, 2))
    between = np.linalg.norm(flat_images.mean(0) - flat_texts.mean(0))
    assert between == pytest.approx((images.mean(0) - texts.mean(0)).norm().item(), rel=0.02)
    plane = torch.zeros(10, 6)
    plane[:, :2] = units(10, 2, 4)
    a, b = projection(plane[:6], plane[6:])
    np.testing.assert_allclose(np.linalg.norm(a[0] - b[0]), (plane[0] - plane[6]).norm(), rtol=1e-5)
