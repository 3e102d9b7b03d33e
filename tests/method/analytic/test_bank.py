"""The bank of old features against explicit computations."""

import pytest
import torch
import torch.nn.functional as F

from mgclip.method.analytic.bank import Bank, centres, drift_map
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.random_features import RandomFeatures
from mgclip.method.analytic.ridge_regression import solve
from mgclip.method.analytic.solved_head import SolvedHead, add, moved
from mgclip.method.analytic.sums import Sums

DIM = 6
HALF = 1e-3  # more than the rounding of half precision


def images(per_class, seed=0):
    """Random normalised features and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(per_class)])
    return F.normalize(torch.randn(len(labels), DIM, generator=generator), dim=-1), labels


def bank(per_class, *, limit=100, seed=0):
    return Bank.empty(DIM).plus(*images(per_class, seed), per_class=limit)


def same(one, other):
    return all(map(torch.equal, (one.features, one.counts, one.classes), (other.features, other.counts, other.classes)))


def test_few_images_are_kept_as_they_are():
    features, labels = images([3, 2])
    made = Bank.empty(DIM).plus(features, labels, per_class=3)
    assert made.features.dtype == torch.float16
    assert (made.features - features).abs().max() < HALF
    assert made.classes.tolist() == labels.tolist()
    assert made.counts.tolist() == [1] * 5


def test_many_images_become_the_means_of_their_groups():
    corners = torch.eye(DIM)[:3]
    noise = 0.02 * torch.randn(30, DIM, generator=torch.Generator().manual_seed(1))
    group = torch.tensor([0] * 5 + [1] * 10 + [2] * 15)
    features = F.normalize(corners[group] + noise, dim=-1)
    made = Bank.empty(DIM).plus(features, torch.zeros(30, dtype=torch.long), per_class=3)
    means = torch.stack([F.normalize(features[group == k].mean(0), dim=0) for k in range(3)])
    order = made.counts.argsort()
    assert made.counts[order].tolist() == [5, 10, 15]
    assert (made.features[order] - means).abs().max() < HALF


def test_the_order_of_images_does_not_matter():
    features, labels = images([40, 30])
    shuffled = torch.randperm(70, generator=torch.Generator().manual_seed(2))
    made = Bank.empty(DIM).plus(features, labels, per_class=7)
    assert same(made, Bank.empty(DIM).plus(features[shuffled], labels[shuffled], per_class=7))
    assert torch.bincount(made.classes).tolist() == [7, 7]
    assert made.sums(RandomFeatures(DIM, 5, 1.0, 0)).counts.tolist() == [40, 30]


def test_equal_images_need_one_feature():
    features, labels = images([2])
    repeated = features.repeat(10, 1)
    made = Bank.empty(DIM).plus(repeated, labels.repeat(10), per_class=5)
    assert made.counts.tolist() == [10, 10]
    assert F.normalize(features, dim=-1).sum(0) == pytest.approx(made.features.double().sum(0), abs=HALF)


def test_centres_weigh_features_by_their_images():
    pair = F.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]]), dim=-1)
    found, images_of = centres(pair, torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64), 2)
    left, right = found[:, 0].argsort().tolist()
    assert images_of[[left, right]].tolist() == [2, 4]
    assert found[right] == pytest.approx(F.normalize((3 * pair[0] + pair[1]) / 4, dim=0), abs=HALF)


def test_a_known_class_grows_and_the_others_are_not_touched():
    first = bank([20, 20], limit=4)
    more, _ = images([6], seed=3)
    grown = first.plus(more, torch.full((6,), 1), per_class=4)
    assert torch.equal(grown.features[grown.classes == 0], first.features[first.classes == 0])
    assert torch.equal(grown.counts[grown.classes == 0], first.counts[first.classes == 0])
    assert (grown.classes == 1).sum() == 4
    assert grown.counts[grown.classes == 1].sum() == 26
    roomy = bank([2, 2]).plus(more, torch.full((6,), 1), per_class=8)
    assert roomy.counts.tolist() == [1] * 10
    assert roomy.classes.tolist() == [0] * 2 + [1] * 8


def test_images_are_taken_out_again():
    full, (features, labels) = bank([4, 4]), images([4, 4])
    out = torch.tensor([1, 6])
    without = full.minus(features[out], labels[out])
    stay = torch.tensor([0, 2, 3, 4, 5, 7])
    assert same(without, Bank.empty(DIM).plus(features[stay], labels[stay], per_class=9))
    coarse = bank([12, 12], limit=3)
    features, labels = images([12, 12])
    fewer = coarse.minus(features[:5], labels[:5])
    assert fewer.counts.sum() == 19
    assert torch.equal(fewer.features[fewer.classes == 1], coarse.features[coarse.classes == 1])
    assert fewer.counts[fewer.classes == 1].sum() == 12
    assert coarse.minus(features[:12], labels[:12]).classes.unique().tolist() == [1]


def test_no_feature_stands_for_less_than_no_image():
    """Two images are nearest to a feature that stands for one: the other one is taken from the next feature."""
    near, far = torch.eye(DIM)[:2]
    coarse = Bank(torch.stack([near, far, near]).half(), torch.tensor([1.0, 5.0, 2.0]).double(), torch.tensor([0, 0, 1]))
    fewer = coarse.minus(near.repeat(2, 1), torch.zeros(2, dtype=torch.long))
    assert (fewer.counts.tolist(), fewer.classes.tolist()) == ([4, 2], [0, 1])
    assert torch.equal(fewer.features, coarse.features[1:])


def test_classes_are_removed_renamed_and_merged():
    full = bank([3, 4, 5])
    without = full.placed([0, None, 1], per_class=100)
    assert without.classes.tolist() == [0] * 3 + [1] * 5
    assert torch.equal(without.features, full.features[full.classes != 1])
    swapped = full.placed([2, 1, 0], per_class=100)
    assert torch.equal(swapped.features[swapped.classes == 2], full.features[full.classes == 0])
    assert swapped.classes.tolist() == [0] * 5 + [1] * 4 + [2] * 3
    merged = full.placed([0, 1, 0], per_class=100)
    assert merged.classes.tolist() == [0] * 8 + [1] * 4
    assert merged.counts.sum() == 12
    fewer = full.placed([0, 1, 0], per_class=6)
    assert torch.bincount(fewer.classes).tolist() == [6, 4]
    assert fewer.counts[fewer.classes == 0].sum() == 8
    assert same(full.placed([None] * 3, per_class=100), Bank.empty(DIM))


def test_two_banks_merge():
    one, other = bank([2, 3]), bank([4, 5], seed=1)
    both = one.merged(other, [2, 0], per_class=100)
    assert both.classes.tolist() == [0] * 7 + [1] * 3 + [2] * 4
    assert torch.equal(both.features[both.classes == 2], other.features[:4])
    assert torch.equal(both.features[both.classes == 0], torch.cat([one.features[:2], other.features[4:]]))


def test_the_drift_map_is_ridge_regression_of_the_difference():
    before, _ = images([50])
    after, _ = images([50], seed=1)
    more, _ = images([7], seed=2)
    fourier = RandomFeatures(DIM, 30, gamma=0.8, seed=1)
    x, y, f = before.double(), after.double(), more.double()
    # As kernel regression: f + k(f, X) (K + I)^-1 (Y - X).
    kernel, own = fourier(x) @ fourier(x).T, fourier(f) @ fourier(x).T
    explicit = f + own @ torch.linalg.inv(kernel + torch.eye(50).double()) @ (y - x)
    found = drift_map(before, after, fourier)(more)
    assert found.dtype == torch.float64
    assert (found - F.normalize(explicit, dim=-1)).abs().max() < 1e-10


def test_bank_and_sample_of_a_head_move_to_where_the_new_adapters_put_them():
    features, labels = images([9, 7])
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(4), dtype=torch.float64))[0].float()
    before, _ = images([60], seed=1)
    fourier = RandomFeatures(DIM, 200, gamma=0.8, seed=1)
    own = Images(torch.arange(16), labels, features)
    head = add(SolvedHead.empty(fourier, per_class=9), own, lambda features: features[:, :2])
    found = moved(head, before, before @ turn)
    drift = drift_map(before, before @ turn, fourier)
    assert (found.sample.features - drift(head.sample.features)).abs().max() < 1e-6
    assert found.sample.features.dtype == head.sample.features.dtype
    assert (found.bank.features - drift(F.normalize(head.bank.features.double(), dim=-1))).abs().max() < HALF
    left, unmoved = ((to - features @ turn).norm(dim=1).mean() for to in (found.sample.features, features))
    assert left < 0.5 * unmoved
    assert torch.equal(found.sample.marks, head.sample.marks)


def test_without_drift_no_feature_moves():
    before, _ = images([30])
    more, _ = images([7], seed=2)
    drift = drift_map(before, before, RandomFeatures(DIM, 30, gamma=0.8, seed=1))
    assert (drift(more) - more).abs().max() < 1e-6


def test_features_follow_a_change_that_no_linear_map_makes():
    """Half of the features turn one way and half the other way."""
    features, _ = images([200, 200])
    turn = torch.eye(DIM)
    turn[:2, :2] = torch.tensor([[0.8, 0.6], [-0.6, 0.8]])
    changed = torch.where(features[:, 2:3] > 0, features @ turn, features @ turn.T)
    drift = drift_map(features[:200], changed[:200], RandomFeatures(DIM, 400, gamma=0.8, seed=1))
    made = Bank.empty(DIM).plus(features[200:], torch.zeros(200).long(), per_class=200)
    moved = made.moved(drift)
    linear = features[200:] @ torch.linalg.lstsq(features[:200], changed[:200]).solution
    left, linearly = ((to - changed[200:]).norm(dim=1).mean() for to in (moved.features, F.normalize(linear, dim=-1)))
    assert left < 0.7 * linearly
    assert moved.features.dtype == torch.float16
    assert (moved.features.double().norm(dim=1) - 1).abs().max() < HALF
    assert torch.equal(moved.classes, made.classes)
    assert torch.equal(moved.counts, made.counts)


def test_sums_are_those_of_as_many_images_as_each_feature_stands_for():
    made, fourier = bank([30, 20], limit=4), RandomFeatures(DIM, 15, gamma=0.8, seed=1)
    times = made.counts.long()
    phi = fourier(F.normalize(made.features.double(), dim=-1)).repeat_interleave(times, dim=0)
    explicit = Sums.empty(16).plus(phi, made.classes.repeat_interleave(times))
    found = made.sums(fourier)
    for one, other in zip(
        (found.gram, found.targets, found.counts), (explicit.gram, explicit.targets, explicit.counts), strict=True
    ):
        assert one.dtype == torch.float64
        assert (one - other).abs().max() < 1e-10
    assert Bank.empty(DIM).sums(fourier).targets.shape == (16, 0)


def test_equal_images_change_nothing_in_the_classifier():
    features, labels = images([8, 8, 8])
    empty = SolvedHead.empty(RandomFeatures(DIM, 60, gamma=0.8, seed=1), per_class=8)

    def head(times):
        own = Images(torch.arange(24 * times), labels.repeat(times), features.repeat(times, 1))
        return add(empty, own, lambda features: features[:, :3])

    once, often = head(1), head(9)
    assert often.sums.counts.tolist() == [72, 72, 72]
    assert often.ridge == once.ridge
    assert (often.weights - once.weights).abs().max() < 1e-6 * once.weights.abs().max()
    assert solve(often.sums).ridge < often.ridge  # with the number of images the ridge is too small


@pytest.mark.parametrize("balance", [True, False])
def test_a_head_with_a_bank_weighs_classes_or_images_as_one_without(balance):
    features, labels = images([12, 3, 6])
    fourier = RandomFeatures(DIM, 60, gamma=0.8, seed=1)
    empty = SolvedHead.empty(fourier, per_class=12, class_balance=balance)
    found = add(empty, Images(torch.arange(21), labels, features), lambda features: features[:, :3])
    phi, target = fourier(F.normalize(found.bank.features.double(), dim=-1)), F.one_hot(labels).double()
    if balance:
        means = phi.T @ target / target.sum(0)
        scatter = phi - means.T[labels]
        normal, right = scatter.T @ scatter / 7 + means @ means.T, means  # C / n is 3 / 21
    else:
        normal, right = phi.T @ phi / 7, phi.T @ target / 7
    explicit = torch.linalg.solve(normal + found.ridge * torch.eye(61, dtype=torch.float64), right)
    assert (found.weights - explicit).abs().max() < 1e-8 * explicit.abs().max()


def test_the_calibration_of_a_bank_with_few_centres_is_nearly_that_of_all_images():
    features, labels = images([40, 40, 40])
    features = F.normalize(features + 1.5 * F.one_hot(labels, DIM), dim=-1)
    own = Images(torch.arange(120), labels, features)
    fourier = RandomFeatures(DIM, 60, gamma=0.8, seed=1)

    def text(features):
        return 5 * features[:, :3]

    every, few = (add(SolvedHead.empty(fourier, per_class=most), own, text).calibration for most in (0, 4))
    assert few.accuracy == pytest.approx(every.accuracy, abs=0.05)
    assert few.head == pytest.approx(every.head, rel=0.3)
    assert few.deviation == pytest.approx(every.deviation, rel=0.5)


def test_the_nearest_feature_of_its_class_stands_for_an_image():
    features, labels = images([9, 9])
    bank = Bank.empty(DIM).plus(features, labels, per_class=3)
    found = bank.standing(features, labels)
    for feature, label, near in zip(features, labels, found, strict=True):
        held = F.normalize(bank.features[bank.classes == label].double(), dim=-1)
        assert torch.equal(near, held[(held - feature).square().sum(1).argmin()])
    exact = Bank.empty(DIM).plus(features, labels, per_class=9).standing(features, labels)
    assert (exact - features).abs().max() < HALF
