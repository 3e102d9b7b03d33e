"""What ``predict`` returns: the values of the method, computed on first access, and the best classes in a stable order."""

import numpy as np
import pandas as pd
import pytest
import torch

from mgclip import Predictions, Settings
from mgclip.errors import InputError
from mgclip.method import predictions as module
from mgclip.method.analytic.calibration import Calibration
from mgclip.method.methods import ANALYTIC
from mgclip.method.predictions import candidate_texts


def made(*, learned=40, candidates=0, images=30, levels=5, seed=0, calibration=None, **settings):
    """Predictions of logits and cosines that take few values, so that classes tie."""
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.integers(levels, size=(images, learned + candidates)), dtype=torch.float32)
    cosines = torch.tensor(rng.integers(levels, size=(images, learned)), dtype=torch.float32) / levels
    names = [f"class {i}" for i in range(learned + candidates)]
    return Predictions(
        tuple(names[:learned]), tuple(names[learned:]), logits, cosines, 100.0, Settings(**settings), calibration
    ), logits, cosines  # fmt: skip


def all_sorted(found):
    """Every class of every image, sorted by confidence, the earlier of equal ones first."""
    return np.argsort(-found.confidence, axis=1, kind="stable")


@pytest.mark.parametrize("candidates", [0, 7])
@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
def test_the_best_classes_are_those_of_a_complete_stable_sort(candidates, levels):
    for seed in range(5):
        found, *_ = made(candidates=candidates, levels=levels, seed=seed)
        expected = all_sorted(found)
        for k in (0, 1, 2, 3, 10, len(found.classes) - 1, len(found.classes), len(found.classes) + 5):
            assert found.order(k).tolist() == expected[:, :k].tolist()
        best = [
            [(found.classes[c], float(row[c])) for c in cs] for row, cs in zip(found.confidence, expected[:, :4], strict=True)
        ]
        assert list(found.top(4)) == best
        assert found.names == [found.classes[label] for label in found.labels]
        assert found.labels.tolist() == found.confidence.argmax(1).tolist()
        if not candidates:
            assert found.labels.tolist() == found.probabilities.argmax(1).tolist()


@pytest.mark.parametrize("branches", ["both", "text", "image"])
@pytest.mark.parametrize(("fusion", "beta"), [("published", 4), ("published", 0.5), ("single-softmax", 4)])
def test_the_numbers_are_those_of_the_formulas(branches, fusion, beta):
    found, logits, cosines = made(candidates=3, levels=50, branches=branches, fusion=fusion, vision_weight=beta)

    def mixed(text, image):
        return {"both": (text + beta * image) / (1 + beta), "text": text, "image": image}[branches]

    own, text = logits[:, :40], logits.softmax(1)
    share, once = text[:, :40].sum(1, keepdim=True), own.softmax(1)
    twice = once.softmax(1) if fusion == "published" and branches == "both" else once
    published = mixed(twice, cosines.softmax(1))
    power = published.double() ** (1 if branches == "text" else 100)
    for given, expected in ((found.probabilities, published), (found.confidence, power / power.sum(1, keepdim=True))):
        np.testing.assert_allclose(
            given, torch.cat([share * expected, text[:, 40:]], 1), rtol=1e-5, atol=1e-38
        )  # smaller ones lose digits
    np.testing.assert_allclose(found.text_probabilities, text, rtol=1e-6)
    np.testing.assert_array_equal(found.head_scores, cosines)
    np.testing.assert_array_equal(found.likeness, cosines.max(1).values)
    np.testing.assert_array_equal(found.top_confidence, found.confidence[np.arange(30), found.labels])
    assert all(
        values.dtype == np.float32
        for values in (found.probabilities, found.confidence, found.text_probabilities, found.head_scores)
    )


def test_the_numbers_of_a_solved_head_are_calibrated():
    found, logits, scores = made(candidates=3, levels=50, calibration=Calibration(2.0, 0.1, deviation=0.5), **ANALYTIC)
    text = logits.softmax(1)
    own = (2.0 / 0.5 * scores + 0.1 * logits[:, :40]).softmax(1) * text[:, :40].sum(1, keepdim=True)
    np.testing.assert_allclose(found.confidence, torch.cat([own, text[:, 40:]], 1), rtol=1e-5)
    np.testing.assert_array_equal(found.probabilities, found.confidence)
    assert found.labels.tolist() == found.confidence.argmax(1).tolist()


def test_values_are_computed_once_so_that_a_loop_may_read_them_for_each_image():
    found, *_ = made()
    for values in ("confidence", "labels", "names", "top_confidence", "likeness"):
        assert getattr(found, values) is getattr(found, values)


def test_the_text_form_shows_the_first_answers():
    logits, cosines = torch.tensor([[30.0, 25.0]] * 7), torch.tensor([[0.9, 0.8]] * 7)
    found = Predictions(("cat", "dog"), (), logits, cosines, 100.0, Settings())
    answers = ", ".join([f"'cat' {found.top_confidence[0]:.2f}"] * 5)
    assert repr(found) == f"<Predictions for 7 images over 2 classes: {answers}, ...>"
    nothing = Predictions(("cat", "dog"), (), logits[:0], cosines[:0], 100.0, Settings())
    assert repr(nothing) == "<Predictions for 0 images over 2 classes>"


def test_only_the_values_that_are_read_are_computed(monkeypatch):
    found, *_ = made()
    monkeypatch.setattr(module, "confidences", None)
    monkeypatch.setattr(np, "argsort", None)
    assert len(found.names) == len(found) == 30
    assert found.order(1)[:, 0].tolist() == found.labels.tolist()


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, pd.Index, iter])
@pytest.mark.parametrize("texts", [["zebra"], ["zebra", "ape"]])
def test_candidates_may_be_an_array_or_a_column(kind, texts):
    assert candidate_texts(kind(texts), ["cat"]) == tuple(texts)


@pytest.mark.parametrize("k", [-1, 1.5, True, None, "3"])
def test_the_number_of_best_classes_is_a_whole_number(k):
    found, *_ = made()
    for best in (found.top, found.order):
        with pytest.raises(InputError, match="The number of best classes must be a whole number of at least 0; found"):
            best(k)
    assert list(found.top(np.int64(2))) == list(found.top(2))
