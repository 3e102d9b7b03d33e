"""The weights of head and texts: fitted if there is evidence, the prior's if there is not."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from mgclip.method.analytic import learned_images
from mgclip.method.analytic.calibration import FITTED, PRIOR, PRIOR_WEIGHT, TOGETHER, Calibration, fit, fit_weights, measured


def calibrate(*images):
    """The calibration that is fitted to images, with what they say about the model."""
    return measured(fit(*images), *images)


def sample(images, *, head, text, seed=0):
    """Scores and text logits of 10 classes, and labels drawn with the probabilities that weights ``head`` and ``text`` give."""
    generator = torch.Generator().manual_seed(seed)
    scores, logits = (torch.randn(images, 10, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.multinomial((head * scores + text * logits).softmax(1), 1, generator=generator)[:, 0]
    return scores, logits, labels


@pytest.mark.parametrize(("head", "text"), [(2.5, 0.6), (0.7, 0.2)])
def test_many_images_decide_the_weights_as_far_as_the_prior_lets_them(head, text):
    """The fit is the maximum of likelihood and prior: in every direction around it, their sum is smaller."""
    scores, logits, labels = sample(5000, head=head, text=text)
    found = fit_weights(scores, logits, labels, labels >= 0)
    assert found == pytest.approx((head, text), rel=0.15)

    def posterior(weights):
        logs = torch.tensor(weights, dtype=torch.float64).log() - torch.tensor(PRIOR, dtype=torch.float64).log()
        likelihood = (weights[0] * scores + weights[1] * logits).log_softmax(1)[torch.arange(len(labels)), labels].mean()
        return float(likelihood - PRIOR_WEIGHT * logs.square().sum())

    for step in (0.98, 1.02):
        assert posterior((found[0] * step, found[1])) < posterior(found) > posterior((found[0], found[1] * step))


def test_more_copies_of_the_same_images_change_nothing():
    """Neither the number of images nor their order weighs against the prior."""
    scores, logits, labels = sample(40, head=4.0, text=3.0)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1)) % 40
    once, twice = (fit_weights(scores[rows], logits[rows], labels[rows], labels[rows] >= 0) for rows in (torch.arange(40), order))
    assert twice == pytest.approx(once, rel=1e-5)


def test_the_only_image_of_a_class_weighs_the_texts_alone():
    """The head keeps the weight of the prior, whatever the scores are. The texts fit better than the prior says."""
    scores, logits, labels = torch.randn(10, 10).double(), 3 * torch.eye(10).double(), torch.arange(10)
    found = calibrate(scores, logits, labels, torch.ones(10))
    assert (found.head, found.deviation) == pytest.approx((PRIOR[0], scores.std().item()))
    assert (found.accuracy, found.likeness) == (None, ())

    def posterior(text):
        likelihood = (text / TOGETHER * logits).log_softmax(1)[labels, labels].mean()
        return float(likelihood - PRIOR_WEIGHT * np.log(text / PRIOR[1]) ** 2)

    assert found.text > 2 * PRIOR[1]
    assert posterior(found.text * 0.98) < posterior(found.text) > posterior(found.text * 1.02)


def test_images_that_are_alone_in_their_class_say_nothing_about_the_head():
    scores, logits, labels = sample(200, head=3.0, text=0.5)
    counts = torch.full((10,), 20.0)
    counts[3] = 1
    found, others = calibrate(scores, logits, labels, counts), labels != 3
    assert (found.head, found.text) == pytest.approx(fit_weights(scores / scores.std(), logits, labels, others))
    other = scores.clone()
    other[~others] = other[~others].flip(1)  # another order of the scores of these images, with the same deviation
    changed = calibrate(other, logits, labels, counts)
    assert (changed.head, changed.text) == pytest.approx((found.head, found.text))
    fused = found.logits(scores[others], logits[others])
    assert found.accuracy == pytest.approx((fused.argmax(1) == labels[others]).double().mean().item())
    assert found.likeness == pytest.approx(np.quantile(scores[others].amax(1).numpy(), [0.01, 0.05, 0.1]).tolist())


@pytest.mark.parametrize("scores", [torch.zeros(4, 3), torch.ones(4, 1), torch.zeros(0, 3)])
def test_scores_that_say_nothing_leave_the_prior(scores):
    labels = torch.zeros(len(scores), dtype=torch.long)
    found = calibrate(scores.double(), torch.zeros_like(scores), labels, torch.full((scores.shape[1],), 4.0))
    assert found == Calibration()


def test_a_given_weight_of_the_texts_stays_whatever_the_evidence():
    scores, logits, labels = sample(200, head=3.0, text=0.5)
    fitted, given = (fit(scores, logits, labels, torch.full((10,), 20.0), text_weight=weight) for weight in (None, 0.05))
    assert (given.text, given.deviation) == (0.05, fitted.deviation)
    assert fitted.text > 0.3
    nothing = fit(0 * scores, logits, labels, torch.full((10,), 20.0), text_weight=0.05)
    assert nothing == Calibration(text=0.05)
    assert measured(nothing, 0 * scores, logits, labels, torch.full((10,), 20.0)) == nothing


@pytest.mark.parametrize("weight", [0.0, 0.05, 2.0, 30.0])
def test_the_weight_of_the_head_is_fitted_to_the_given_weight_of_the_texts(weight):
    """An optimiser that knows no gradient finds the same weight, and the weight of the joint fit is worse."""
    scores, logits, labels = sample(400, head=1.5, text=0.5)
    counts = torch.full((10,), 20.0)
    counts[3] = 1  # its images say nothing about the head
    fitted, given = (fit(scores, logits, labels, counts, text_weight=each) for each in (None, weight))
    several, standard = labels != 3, (scores / scores.std()).numpy()

    def loss(head):
        fused = head * standard[several] + weight * logits.numpy()[several]
        likelihood = log_softmax(fused, 1)[np.arange(len(fused)), labels.numpy()[several]].sum() / len(labels)
        return PRIOR_WEIGHT * np.log(head / PRIOR[0]) ** 2 - likelihood

    found = minimize_scalar(loss, bounds=(1e-3, 100), method="bounded", options={"xatol": 1e-9})
    assert (given.head, given.text) == (pytest.approx(found.x, rel=1e-5), weight)
    assert loss(given.head) < loss(fitted.head) - 1e-4


def test_a_joint_fit_and_one_next_to_its_weight_of_the_texts_agree():
    scores, logits, labels = sample(400, head=1.5, text=0.5)
    joint = fit_weights(scores, logits, labels, labels >= 0)
    assert fit_weights(scores, logits, labels, labels >= 0, text_weight=joint[1]) == pytest.approx(joint)


def test_each_branch_is_measured_by_its_own_answers():
    scores, logits, labels = sample(300, head=2.0, text=0.5)
    found = calibrate(scores, logits, labels, torch.full((10,), 30.0))
    shares = [(values.argmax(1) == labels).double().mean().item() for values in (scores, logits, found.logits(scores, logits))]
    assert [found.head_accuracy, found.text_accuracy, found.accuracy] == pytest.approx(shares)
    assert len(set(shares)) == 3


def test_the_constants_are_those_of_the_documentation():
    assert (PRIOR, PRIOR_WEIGHT, TOGETHER) == ((1.5, 0.3), 0.01, 0.7)
    assert (learned_images.SAMPLE, FITTED) == (4096, 4096 * 4096)


def test_the_answer_is_the_class_of_the_largest_number():
    scores, logits, _ = sample(50, head=1.0, text=1.0)
    fused = Calibration(2.0, 0.5, deviation=0.1).logits(scores, logits)
    assert torch.equal(fused, 20.0 * scores + 0.5 * logits)
    assert torch.equal(fused.softmax(1).argmax(1), fused.argmax(1))
