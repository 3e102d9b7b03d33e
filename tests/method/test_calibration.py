"""The weights of head and texts: fitted if there is evidence, the prior's if there is not."""

import pytest
import torch

from mgclip.method.calibration import PRIOR, Calibration, fit_weights


def sample(images, *, head, text, seed=0):
    """Scores and text logits of 10 classes, and labels drawn with the probabilities that weights ``head`` and ``text`` give."""
    generator = torch.Generator().manual_seed(seed)
    scores, logits = (torch.randn(images, 10, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.multinomial((head * scores + text * logits).softmax(1), 1, generator=generator)[:, 0]
    return scores, logits, labels


def test_many_images_decide_the_weights():
    found = fit_weights(*sample(20_000, head=2.5, text=0.6))
    assert found == pytest.approx((2.5, 0.6), rel=0.05)


def test_few_images_leave_the_prior():
    found = fit_weights(*sample(1, head=4.0, text=3.0))
    assert found == pytest.approx(PRIOR, rel=0.25)


def test_a_class_with_a_single_image_is_no_evidence():
    scores, logits, _ = sample(10, head=4.0, text=3.0)
    updated = Calibration().updated(scores, logits, torch.arange(10), torch.ones(10))
    assert (updated.head, updated.text, updated.images) == (*PRIOR, 0)
    assert updated.deviation == pytest.approx(scores.std().item())


def test_tasks_are_averaged_by_their_images():
    scores, logits, labels = sample(400, head=3.0, text=0.5)
    counts = torch.full((10,), 40.0)
    once = Calibration().updated(scores, logits, labels, counts)
    assert once.images == 400
    twice = once.updated(scores, logits, labels, counts)
    assert (twice.head, twice.text, twice.images) == (pytest.approx(once.head), pytest.approx(once.text), 800)
    tied = Calibration(head=1.0, text=1.0, images=1200).updated(scores, logits, labels, counts)
    assert tied.head == pytest.approx(once.head**0.25)


def test_the_answer_is_the_class_of_the_largest_number():
    scores, logits, _ = sample(50, head=1.0, text=1.0)
    fused = Calibration(2.0, 0.5, deviation=0.1).logits(scores, logits)
    assert torch.equal(fused, 20.0 * scores + 0.5 * logits)
    assert torch.equal(fused.softmax(1).argmax(1), fused.argmax(1))
