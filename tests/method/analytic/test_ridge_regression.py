"""The solved classifier against slow, explicit computations."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mgclip.method.analytic.random_features import RandomFeatures
from mgclip.method.analytic.ridge import (
    BLOCK,
    EQUAL,
    RIDGES,
    WITHOUT_EVIDENCE,
    left_out_error,
    ridge_of,
    trace_of_inverse,
    traces_of,
    valley,
)
from mgclip.method.analytic.ridge_regression import leave_one_out, solve
from mgclip.method.analytic.sums import Sums

DIM, WIDTH = 8, 40


def images(per_class, seed=0):
    """Normalised features around one direction per class, and labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(len(per_class), DIM, generator=generator)
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(per_class)])
    return F.normalize(centres[labels] + 0.5 * torch.randn(len(labels), DIM, generator=generator), dim=-1), labels


def fourier(seed=0):
    return RandomFeatures(DIM, WIDTH, gamma=0.7, seed=seed)


def close(one, other):
    assert (one - other).abs().max() <= 1e-8 * other.abs().max()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_any_order_and_any_split_give_the_same_weights(per_class, random):
    features, labels = images(per_class)
    phi = fourier()(features)
    together = solve(Sums.empty(WIDTH + 1).plus(phi, labels), ridge=0.01)
    order = list(range(len(labels)))
    random.shuffle(order)
    cut = random.randrange(len(order) + 1)
    sums = Sums.empty(WIDTH + 1)
    for part in (order[:cut], order[cut:]):
        sums = sums.plus(phi[part], labels[part])
    close(solve(sums, ridge=0.01).weights, together.weights)


def test_two_halves_merge_into_the_whole():
    features, labels = images([6, 5, 7, 4])
    phi, empty = fourier()(features), Sums.empty(WIDTH + 1)
    complete = solve(empty.plus(phi, labels))
    first = empty.plus(phi[labels < 2], labels[labels < 2])
    second = empty.plus(phi[labels >= 2], 3 - labels[labels >= 2])  # it learned class 3 first, then class 2
    merged = solve(first.merged(second, [3, 2]))
    assert merged.ridge == complete.ridge
    close(merged.weights, complete.weights)


def test_known_classes_grow_and_shrink_by_addition():
    features, labels = images([8, 8, 8])
    phi, empty = fourier()(features), Sums.empty(WIDTH + 1)
    half = torch.arange(len(labels)) % 2 == 0
    grown = empty.plus(phi[half], labels[half]).plus(phi[~half], labels[~half])
    close(solve(grown).weights, solve(empty.plus(phi, labels)).weights)
    shrunk = grown.merged(empty.plus(phi[~half], labels[~half]).negative(), [0, 1, 2])
    close(solve(shrunk).weights, solve(empty.plus(phi[half], labels[half])).weights)


def test_each_class_has_one_vote():
    """Ten copies of the only image of a class count as much as one."""
    features, labels = images([4, 4])
    phi, empty = fourier()(features), Sums.empty(WIDTH + 1)
    sums = empty.plus(phi, labels)
    close(sums.matrices()[0], phi.T @ phi / 4)  # equal counts: every image weighs one over the count of its class
    close(torch.cat([*sums.right_hand_side()], 1), torch.stack([phi[:4].mean(0), phi[4:].mean(0)], 1))
    single = phi[[0, 4]]
    few = empty.plus(single, torch.tensor([0, 1])).matrices()[0]
    many = empty.plus(single[[0] * 10 + [1]], torch.tensor([0] * 10 + [1])).matrices()[0]
    close(many, few)


@pytest.mark.parametrize("per_class", [[9, 9, 9, 9], [4, 4, 4, 4, 4, 4], [30, 30, 30, 4, 4, 4]])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_ridge_nearly_minimises_the_error_of_an_image_that_is_left_out(per_class, seed):
    features, labels = images(per_class, seed)
    phi = fourier()(features)
    sums = Sums.empty(WIDTH + 1).plus(phi, labels)
    target, weights = F.one_hot(labels).double(), 1 / sums.counts[labels] / len(per_class)  # every class weighs the same
    exact = {
        ridge: float(weights @ (leave_one_out(solve(sums, ridge), phi, labels).scores - target).square().sum(1))
        for ridge in RIDGES
    }
    assert exact[ridge_of(sums, sums.counts)] <= 1.2 * min(exact.values())


def test_images_that_are_all_alike_have_exactly_the_left_out_error_of_the_mean_image():
    """Of classes at the same angles, with images symmetric around their means, all products are those of the mean image."""
    size, count, spread = 3, 4, 0.3
    noise = torch.zeros(size * count, size + count, dtype=torch.float64)
    labels = torch.arange(size).repeat_interleave(count)
    noise[torch.arange(size * count), labels] = 1
    noise[:, size:] = spread * (torch.eye(count, dtype=torch.float64) - 1 / count).repeat(size, 1)
    sums = Sums.empty(size + count).plus(noise, labels)
    for ridge in (0.01, 0.1, 1.0):
        exact = (leave_one_out(solve(sums, ridge), noise, labels).scores - F.one_hot(labels)).square().sum(1).mean()
        traces = traces_of(sums.matrices()[0], ridge, sums.targets / sums.counts, outer=False)
        assert left_out_error(traces, sums.counts, len(labels)) == pytest.approx(exact.item(), rel=1e-9)


def test_unequal_classes_whose_images_are_alike_have_exactly_the_mean_of_their_left_out_errors():
    """The images of each class are the corners of a shape whose scatter is the same in all directions."""
    corners = torch.eye(3, dtype=torch.float64)
    octahedron = torch.cat([corners, -corners])
    tetrahedron = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double() / 3**0.5
    shapes = [octahedron, tetrahedron, tetrahedron]
    noise = torch.cat([0.4 * (1 - 1 / len(shape)) ** 0.5 * shape for shape in shapes])
    labels = torch.tensor([0] * 6 + [1] * 4 + [2] * 4)
    phi = torch.cat([corners[labels], noise], 1)
    sums = Sums.empty(6).plus(phi, labels)
    for ridge in (0.01, 0.1, 1.0):
        errors = (leave_one_out(solve(sums, ridge), phi, labels).scores - F.one_hot(labels)).square().sum(1)
        exact = torch.stack([errors[labels == label].mean() for label in range(3)])
        assert exact[0] < 0.99 * exact[1]
        traces = traces_of(sums.matrices()[0], ridge, sums.targets / sums.counts, outer=False)
        assert left_out_error(traces, sums.counts, len(labels)) == pytest.approx(exact.mean().item(), rel=1e-9)


def left_out_by_definition(sums, ridge):
    """The left-out error of each class with several images, from the matrices: products of images are means over all."""
    count, means = sums.images, sums.targets / sums.counts
    classes = len(sums.counts)
    scatter = sums.gram - sums.targets @ means.T
    inverse = torch.linalg.inv(scatter * classes / count + means @ means.T + ridge * torch.eye(len(means)).double())
    own, degrees = means.T @ inverse @ means, count - classes
    alike = own.trace().item() / classes
    errors = []
    for k in sums.counts[sums.counts > 1].tolist():
        s = (1 - 1 / k) * (inverse @ scatter).trace() / degrees
        t = (1 - 1 / k) * (means.T @ inverse @ scatter @ inverse @ means).trace() / degrees
        change = torch.tensor([[1 / (k - 1) ** 2 - classes / count * k / (k - 1), -1 / (k - 1)], [-1 / (k - 1), 0]]).double()
        products = torch.tensor([[s, 0.0], [0.0, alike]]).double()  # of e and m; the mean of e is zero
        kept = 1 - torch.linalg.inv(torch.eye(2).double() + change @ products) @ change @ products.diagonal()
        assert kept[1] == pytest.approx(1 + kept[0] * s / (k - 1))  # so the error of the mean grows by one factor
        bias = kept[1] ** 2 * (torch.eye(classes) - own).square().sum() / classes
        errors.append(float(bias + kept[0] ** 2 * t))
    return errors


@pytest.mark.parametrize(("per_class", "forgotten"), [([2, 5, 30, 1], 0), ([9] * 12, 8), ([40, 40, 40, 3, 1, 6], 3)])
def test_the_ridge_has_the_least_error_of_an_image_that_is_left_out_by_its_definition(per_class, forgotten):
    """Also if some classes have one image, and others were forgotten, whose scatter stays."""
    features, labels = images(per_class)
    sums = Sums.empty(WIDTH + 1).plus(fourier()(features), labels)
    for _ in range(forgotten):
        sums = sums.without_class(0)
    expected, several = [], sums.counts > 1
    for ridge in RIDGES:
        expected.append(torch.tensor(left_out_by_definition(sums, ridge)).mean().item())
        traces = traces_of(sums.matrices()[0], ridge, sums.targets / sums.counts, outer=False)
        assert left_out_error(traces, sums.counts, sums.images) == pytest.approx(expected[-1], rel=1e-6)
    assert len(left_out_by_definition(sums, 1.0)) == several.sum()
    chosen = max(ridge for ridge, error in zip(RIDGES, expected, strict=True) if error <= min(expected) * (1 + EQUAL))
    assert ridge_of(sums, sums.counts) == chosen


def test_the_ridges_are_those_of_the_documentation():
    assert [*RIDGES[::2]] == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100])
    assert (len(RIDGES), WITHOUT_EVIDENCE) == (13, 1)


@pytest.mark.parametrize("ridge", [1e-4, 0.03, 100.0])
@pytest.mark.parametrize("per_class", [[3, 2], [9, 6, 12], [2] * 60])
def test_the_traces_of_a_ridge_are_those_of_its_definition(per_class, ridge):
    features, labels = images(per_class)
    sums = Sums.empty(WIDTH + 1).plus(fourier()(features), labels)
    normal, outer = sums.matrices()
    right = sums.targets / sums.counts
    inverse = torch.linalg.inv(normal + ridge * torch.eye(WIDTH + 1))
    own = right.T @ inverse @ right
    exact = ((normal @ inverse).trace(), own.trace(), own.square().sum(), (right.T @ inverse @ normal @ inverse @ right).trace())
    for found in (traces_of(normal, ridge, right, outer=False), traces_of(normal, ridge, outer, outer=True)):
        assert (found.freedom, found.own, found.squares, found.fitted) == pytest.approx([x.item() for x in exact], rel=1e-7)


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 40])
def test_the_trace_of_an_inverse_is_that_of_its_columns_in_blocks(size):
    rows = torch.randn(2 * size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = rows.T @ rows + torch.eye(size)
    found = trace_of_inverse(torch.linalg.cholesky(matrix))
    assert found.item() == pytest.approx(torch.linalg.inv(matrix).trace().item(), rel=1e-12)


@given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=13), st.integers(0, 13))
def test_the_search_finds_the_largest_ridge_of_the_least_error(steps, falling):
    """Whatever the position of the least of errors that fall and then rise."""
    errors = [1.0]
    for place, step in enumerate(steps):
        errors.append(errors[-1] / (1 + step) if place < falling else errors[-1] * (1 + step))
    computed = set()
    found = valley(lambda place: (computed.add(place), errors[place])[1], len(errors))
    assert found == max(place for place, error in enumerate(errors) if error <= min(errors) * (1 + EQUAL))
    assert len(computed) <= max(4, abs(found - 3) + 3)  # not the errors of all ridges


def test_a_single_image_of_a_class_does_not_decide_the_ridge():
    features, labels = images([30, 30, 1])
    sums = Sums.empty(WIDTH + 1).plus(fourier()(features), labels)
    assert ridge_of(sums, sums.counts) < WITHOUT_EVIDENCE
    alone, own = images([1, 1, 1])
    single = Sums.empty(WIDTH + 1).plus(fourier()(alone), own)
    assert ridge_of(single, single.counts) == WITHOUT_EVIDENCE


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(2, 9), min_size=2, max_size=5), st.sampled_from([0.0, 7.0]), st.booleans(), st.integers(0, 2**20))
def test_leave_one_out_scores_are_those_of_a_model_without_the_image(per_class, forgotten, balance, seed):
    """Classes may have any number of images. Only the weight C / n of the scatter stays that of all images."""
    features, labels = images(per_class, seed)
    phi, ridge, empty = fourier()(features), 0.05, Sums.empty(WIDTH + 1, class_balance=balance)
    sums = replace(empty.plus(phi, labels), forgotten=forgotten)
    found = leave_one_out(solve(sums, ridge), phi, labels).scores
    for image in range(len(labels)):
        rest = torch.arange(len(labels)) != image
        without = replace(empty.plus(phi[rest], labels[rest]), forgotten=forgotten + 1)
        assert found[image] == pytest.approx((phi[image] @ solve(without, ridge).weights), abs=1e-8)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(2, 5), min_size=2, max_size=5),
    st.lists(st.integers(1, 4), min_size=25),
    st.booleans(),
    st.integers(0, 99),
)
def test_an_image_is_left_out_with_its_copies(per_class, times, balance, seed):
    features, labels = images(per_class, seed)
    phi, ridge, empty = fourier()(features), 0.05, Sums.empty(WIDTH + 1, class_balance=balance)
    copies = torch.tensor(times[: len(labels)])
    every = torch.arange(len(labels)).repeat_interleave(copies)
    sums = empty.plus(phi[every], labels[every])
    found = leave_one_out(solve(sums, ridge), phi, labels, copies=copies).scores
    for image in range(len(labels)):
        rest = every[every != image]
        without = replace(empty.plus(phi[rest], labels[rest]), forgotten=times[image])
        assert found[image] == pytest.approx((phi[image] @ solve(without, ridge).weights), abs=1e-8)


@pytest.mark.parametrize("balance", [True, False])
def test_an_image_is_left_out_by_the_feature_that_stands_for_it(balance):
    features, labels = images([9, 6, 12])
    phi, ridge, empty = fourier()(features), 0.05, Sums.empty(WIDTH + 1, class_balance=balance)
    standing = phi.clone()
    standing[1::3], standing[2::3] = phi[::3], phi[::3]  # every third image stands for three
    sums = empty.plus(standing, labels)
    found = leave_one_out(solve(sums, ridge), phi, labels, standing).scores
    for image in range(len(labels)):
        alone = empty.plus(standing[image : image + 1], torch.zeros(1, dtype=torch.long))
        without = replace(sums.merged(alone.negative(), [int(labels[image])]), forgotten=1)
        assert found[image] == pytest.approx((phi[image] @ solve(without, ridge).weights), abs=1e-8)
    assert (
        leave_one_out(solve(sums, ridge), standing, labels, standing).scores
        - leave_one_out(solve(sums, ridge), standing, labels).scores
    ).abs().max() < 1e-9


def test_the_scatter_of_forgotten_classes_weighs_as_before():
    """Without the images of a class, its mean and count go, and the scatter is still one per image."""
    features, labels = images([30, 30, 4])
    phi, empty = fourier()(features), Sums.empty(WIDTH + 1)
    sums = empty.plus(phi, labels)
    left = sums.without_class(0).without_class(0)
    assert (left.counts.tolist(), left.forgotten, left.images) == ([4], 60, 64)
    close(left.targets, sums.targets[:, 2:])
    scatter = torch.zeros_like(left.gram)
    for label in range(3):
        own = phi[labels == label]
        scatter += (own - own.mean(0)).T @ (own - own.mean(0))
    means = left.targets / left.counts
    close(left.matrices()[0], scatter / 64 + means @ means.T)
    both = left.merged(left, [0])
    assert (both.counts.tolist(), both.forgotten) == ([8], 120)


def test_without_class_balance_every_image_weighs_the_same():
    features, labels = images([40, 8, 20])
    phi = fourier()(features)
    sums = Sums.empty(WIDTH + 1, class_balance=False).plus(phi, labels)
    found = solve(sums)
    ridge = found.ridge * len(labels) / 3 * torch.eye(WIDTH + 1)  # the images weigh 3 in all
    plain = torch.linalg.solve(phi.T @ phi + ridge, phi.T @ F.one_hot(labels).double())
    close(found.weights, plain)
    leverage = torch.linalg.solve(phi.T @ phi + ridge, phi.T @ phi).trace() / len(labels)
    errors = (F.one_hot(labels) - phi @ plain).square().sum() / (1 - leverage) ** 2
    for other in RIDGES:
        with_other = other * len(labels) / 3 * torch.eye(WIDTH + 1)
        weights = torch.linalg.solve(phi.T @ phi + with_other, phi.T @ F.one_hot(labels).double())
        trace = torch.linalg.solve(phi.T @ phi + with_other, phi.T @ phi).trace() / len(labels)
        assert (F.one_hot(labels) - phi @ weights).square().sum() / (1 - trace) ** 2 > 0.998 * errors


def test_with_equal_classes_balance_changes_nothing():
    features, labels = images([9, 9, 9])
    phi = fourier()(features)
    one, other = (solve(Sums.empty(WIDTH + 1, class_balance=balance).plus(phi, labels), 0.01) for balance in (True, False))
    close(one.weights, other.weights)
