"""The head in image space."""

import pytest
import torch

from mgclip.method.compensation import class_means, cosines


def test_class_means_are_not_normalised_again():
    features = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), dim=-1)
    means = class_means(features, torch.tensor([0, 0, 1]), 2)
    assert means[0].tolist() == [0.5, 0.5]
    assert cosines(features, means)[0, 0].item() == pytest.approx(0.5**0.5)
