"""The head in image space."""

import pytest
import torch

from mgclip.method.compensation import class_means, cosines, place_rows


def test_class_means_are_not_normalised_again():
    features = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), dim=-1)
    means = class_means(features, torch.tensor([0, 0, 1]), 2)
    assert means[0].tolist() == [0.5, 0.5]
    assert cosines(features, means)[0, 0].item() == pytest.approx(0.5**0.5)


def test_the_row_of_a_new_class_is_placed_as_it_is():
    """Bit for bit, except that -0 becomes 0, also after a known class that has more images now."""
    rows = torch.randn(40, 512, generator=torch.Generator().manual_seed(0)) * torch.logspace(-38, 38, 512)
    rows[0, :4] = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e-45])
    head, counts = torch.ones(1, 512), torch.tensor([3])
    placed = place_rows(head, counts, rows, torch.arange(1, 41), torch.arange(40))
    assert torch.equal(placed[1:].view(torch.int32), rows[1:].view(torch.int32))
    assert torch.allclose(placed[0], head[0] + 1 / 4 * (rows[0] - head[0]), equal_nan=True)
    alone = place_rows(torch.empty(0, 512), torch.empty(0, dtype=torch.long), rows, torch.arange(1, 41), torch.arange(40))
    assert torch.equal(alone.view(torch.int32), rows.view(torch.int32))
    zeros = place_rows(head, counts, -torch.zeros(1, 512), torch.tensor([2]), torch.tensor([1]))
    assert zeros[1].tolist() == [0.0] * 512
    assert head.tolist() == [[1.0] * 512], "the head given is not changed"
