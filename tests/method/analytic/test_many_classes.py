"""With many classes everything is computed in blocks: the results are the same, and no other matrix is larger than the sums."""

import pytest
import torch
from solved_heads import DIM, WIDTH
from torch.utils._python_dispatch import TorchDispatchMode

from mgclip import Predictions, Settings
from mgclip.method import predictions
from mgclip.method.analytic import calibration, ridge_regression, solved_files, solved_head, sums
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.random_features import RandomFeatures
from mgclip.method.analytic.solved_head import SolvedHead
from mgclip.method.methods import ANALYTIC

MANY = 3000


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def images(classes, per_class=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    centres = torch.nn.functional.normalize(torch.randn(classes, DIM, generator=generator), dim=-1)
    features = torch.nn.functional.normalize(centres[labels] + 0.1 * torch.randn(len(labels), DIM, generator=generator), dim=-1)
    return Images(torch.randint(-(2**62), 2**62, (len(labels),), generator=generator), labels, features)


def texts(classes):
    rows = torch.randn(MANY, DIM, generator=torch.Generator().manual_seed(5))[:classes]
    return lambda features: 10 * features.float() @ rows.T


def learned(own, classes):
    head = SolvedHead.empty(RandomFeatures(DIM, WIDTH, gamma=0.8, seed=2))
    return solved_head.add(head, own, texts(classes))


def small_blocks(monkeypatch):
    for module in (ridge_regression, sums):
        monkeypatch.setattr(module, "COLUMNS", 64)
    monkeypatch.setattr(calibration, "BLOCK", 2**12)
    monkeypatch.setattr(predictions, "BLOCK", 2**12)


@pytest.mark.parametrize("balance", [True, False])
def test_blocks_change_nothing(monkeypatch, balance):
    own = images(150, per_class=3)
    head = SolvedHead.empty(RandomFeatures(DIM, WIDTH, gamma=0.8, seed=2), class_balance=balance)
    expected = solved_head.add(head, own, texts(150))
    small_blocks(monkeypatch)
    found = solved_head.add(head, own, texts(150))
    assert found.ridge == expected.ridge
    assert (found.weights - expected.weights).abs().max() <= 1e-10 * expected.weights.abs().max()
    for value in ("head", "text", "deviation", "accuracy", "likeness", "head_accuracy", "text_accuracy"):
        assert getattr(found.calibration, value) == pytest.approx(getattr(expected.calibration, value), rel=1e-6), value


def test_no_matrix_is_larger_than_the_sums(monkeypatch):
    """Neither one of images times classes nor one of classes times classes."""
    small_blocks(monkeypatch)
    monkeypatch.setattr(calibration, "FITTED", 2**15)
    head, more = learned(images(MANY - 100), MANY - 100), images(100, seed=1)
    more = Images(more.marks, more.labels + MANY - 100, more.features)
    with Largest() as largest:
        head = solved_head.add(head, more, texts(MANY))
    assert largest.elements <= (WIDTH + 1) * max(MANY, len(head.sample))  # the sums, and the features of the sample


def test_the_weights_of_many_classes_take_half_the_memory_and_give_the_same_answers(monkeypatch):
    own, probes = images(200), images(200, seed=9).features
    exact = learned(own, 200)
    monkeypatch.setattr(ridge_regression, "MANY", 100)
    found = learned(own, 200)
    assert (exact.weights.dtype, found.weights.dtype) == (torch.float64, torch.float32)
    assert (found.scores(probes) - exact.scores(probes)).abs().max() < 1e-5
    assert torch.equal(found.scores(probes).argmax(1), exact.scores(probes).argmax(1))
    assert found.scorer.weights.data_ptr() == found.weights.data_ptr()
    named = solved_files.tensors(found)
    settings = Settings(**ANALYTIC, features=WIDTH, seed=2)
    again = solved_files.restored(solved_files.entry(found), named, settings=settings, classes=200)
    assert torch.equal(again.weights, found.weights)
    wide = {**named, "weights": exact.weights}  # written by an earlier version
    assert torch.equal(
        solved_files.restored(solved_files.entry(found), wide, settings=settings, classes=200).weights, found.weights
    )


@pytest.mark.parametrize("candidates", [0, 5])
def test_the_best_of_many_classes_are_found_without_the_values_of_all_images(monkeypatch, candidates):
    generator = torch.Generator().manual_seed(0)
    logits, scores = torch.randn(50, 1000 + candidates, generator=generator), torch.rand(50, 1000, generator=generator)
    names = [f"class {number}" for number in range(1000 + candidates)]

    def made():
        return Predictions(tuple(names[:1000]), tuple(names[1000:]), logits, scores, 100.0, Settings())

    expected = made()
    labels, order, top, likely = expected.labels, expected.order(7), [*expected.top(3)], expected.top_confidence
    small_blocks(monkeypatch)
    found = made()
    with Largest() as largest:
        assert found.labels.tolist() == labels.tolist()
        assert found.order(7).tolist() == order.tolist()
        assert [*found.top(3)] == top
        assert found.top_confidence.tolist() == likely.tolist()
    assert largest.elements <= 2**12
    assert not {"probabilities", "confidence"} & vars(found).keys()
