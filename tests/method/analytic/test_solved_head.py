"""The solved head depends on its images and their classes alone, whatever led to it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from solved_heads import CLASSES, WIDTH, empty, images, learned, texts

from mgclip.method.analytic import learned_images, solved_head, sums
from mgclip.method.analytic.evidence import Evidence
from mgclip.method.analytic.learned_images import Images
from mgclip.method.analytic.solved_head import SolvedHead

PROPERTY = settings(deadline=None, max_examples=20)


def relabelled(own, labels):
    return Images(own.marks, torch.tensor(labels), own.features)


def same(found, expected):
    """The same weights within rounding, the same answers, the same calibration, the same images."""
    assert found.ridge == expected.ridge
    assert (found.weights - expected.weights).abs().max() <= 1e-8 * expected.weights.abs().max()
    probes = images([30] * CLASSES, seed=77).features
    assert torch.equal(found.scores(probes).argmax(1), expected.scores(probes).argmax(1))
    one, other = found.calibration, expected.calibration
    for value in ("head", "text", "deviation", "accuracy", "likeness"):
        assert getattr(one, value) == pytest.approx(getattr(other, value), rel=1e-6), value
    for kept, wanted in ((found.learned, expected.learned), (found.sample, expected.sample)):
        pairs = [sorted(zip(part.marks.tolist(), part.labels.tolist(), strict=True)) for part in (kept, wanted)]
        assert pairs[0] == pairs[1]
    assert found.sums.counts.tolist() == expected.sums.counts.tolist()
    assert found.sums.forgotten == expected.sums.forgotten


counts = st.lists(st.integers(2, 7), min_size=CLASSES, max_size=CLASSES)


@PROPERTY
@given(counts, st.randoms(use_true_random=False), st.integers(1, 5))
def test_any_order_and_any_split_of_the_images_give_the_same_head(per_class, random, parts):
    own = images(per_class)
    order = list(range(len(own)))
    random.shuffle(order)
    ends = sorted(random.randrange(len(order) + 1) for _ in range(parts - 1))
    head, seen = empty(), 0
    for start, end in zip([0, *ends], [*ends, len(order)], strict=True):
        part = own.take(torch.tensor(order[start:end], dtype=torch.long))
        seen = max([seen, *(part.labels + 1).tolist()])
        if len(set(order[:end])) and sorted(set(own.labels[order[:end]].tolist())) != list(range(seen)):
            return  # a learner numbers classes in the order in which they come
        head = solved_head.add(head, part, texts(seen)) if seen else head
    same(head, learned(own))


def test_tasks_of_new_classes_in_any_split_give_the_same_head():
    own = images([6, 3, 9, 4])
    for split in ([1, 2, 3, 4], [2, 4], [3, 4], [4]):
        head, first = empty(), 0
        for end in split:
            part = own.take((own.labels >= first) & (own.labels < end))
            head, first = solved_head.add(head, part, texts(end)), end
        same(head, learned(own))


def test_a_class_of_ten_images_and_ten_more_equals_one_of_twenty():
    own = images([20] * CLASSES)
    half = torch.arange(len(own)) % 20 < 10
    same(solved_head.add(learned(own.take(half)), own.take(~half), texts()), learned(own))


@PROPERTY
@given(counts, st.permutations(range(CLASSES)), st.integers(1, CLASSES - 1))
def test_two_models_merge_into_one_that_has_learned_both(per_class, order, cut):
    """The second one knows other classes, in another order, and some images of a class that the first one knows."""
    own = images(per_class)
    extra = torch.zeros(len(own), dtype=torch.bool)
    extra[0] = True  # an image of class 0 that the second one has
    first = own.take((own.labels < cut) & ~extra)
    names = [0, *(label for label in order if label >= cut)]
    second = own.take((own.labels >= cut) | extra)
    second = Images(second.marks, torch.tensor([names.index(label) for label in second.labels.tolist()]), second.features)
    one = learned(first, cut)
    other = solved_head.add(empty(), second, texts(torch.tensor(names)))
    same(solved_head.merge(one, other, names, texts()), learned(own))


@PROPERTY
@given(counts, st.data())
def test_corrected_images_count_as_if_learned_right_from_the_start(per_class, data):
    own = images(per_class)
    right = own.labels.tolist()
    wrong = [label if row in first_of(right) else data.draw(st.integers(0, CLASSES - 1)) for row, label in enumerate(right)]
    head = learned(relabelled(own, wrong))
    asked = data.draw(st.lists(st.integers(0, len(own) - 1), unique=True))
    asked = sorted({*asked, *(row for row in range(len(own)) if wrong[row] != right[row])})
    found = solved_head.correct(head, own.take(torch.tensor(asked, dtype=torch.long)), texts())
    same(found, learned(own))


def first_of(labels):
    """The position of the first image of each class."""
    return {labels.index(label) for label in set(labels)}


def test_an_image_that_was_not_learned_is_added_by_its_correction():
    own = images([5, 5, 5, 5])
    new = torch.zeros(len(own), dtype=torch.bool)
    new[[4, 12]] = True
    same(solved_head.correct(learned(own.take(~new)), own.take(new), texts()), learned(own))


def test_every_copy_of_an_image_is_corrected():
    """Twice in one wrong class, once in another, and once in the right one: four times in the right one afterwards."""
    own = images([5, 5, 5, 5])
    rows = torch.tensor([*range(20), 0, 0, 0])
    copies = own.take(rows)
    labels = copies.labels.tolist()
    labels[-3:] = [1, 1, 2]
    head = learned(relabelled(copies, labels))
    assert head.learned.labels_of(own.marks[:2]) == [[0, 1, 1, 2], [0]]
    same(solved_head.correct(head, own.take(torch.tensor([0])), texts()), learned(copies))


def test_of_equal_images_as_many_are_taken_out_as_are_given():
    own = images([2, 2])
    copies = own.take(torch.tensor([0, 0, 2, 0, 1]))
    left = copies.minus(own.take(torch.tensor([0, 0, 3])))
    assert left.marks.tolist() == own.marks[[2, 0, 1]].tolist()
    assert left.labels.tolist() == [1, 0, 0]


def test_a_correction_that_is_right_already_changes_nothing():
    own = images([5, 5, 5, 5])
    head = learned(own)
    assert solved_head.correct(head, own.take(torch.tensor([3, 7])), texts()) is head


@PROPERTY
@given(counts, st.integers(0, CLASSES - 1))
def test_a_class_that_is_forgotten_with_its_images_leaves_no_trace(per_class, label):
    own = images(per_class)
    found = solved_head.forget(learned(own), label, own.take(own.labels == label), texts(without(label)))
    kept = own.take(own.labels != label)
    kept = relabelled(kept, (kept.labels - (kept.labels > label).long()).tolist())
    expected = solved_head.add(empty(), kept, texts(without(label)))
    same(found, expected)
    assert (found.sums.gram - expected.sums.gram).abs().max() < 1e-12 * found.sums.gram.abs().max()


def without(label):
    return torch.tensor([other for other in range(CLASSES) if other != label])


def test_a_class_that_is_forgotten_without_its_images_leaves_its_scatter_alone():
    own = images([9, 5, 6, 4])
    head = learned(own)
    found = solved_head.forget(head, 1, None, texts(without(1)))
    assert (found.sums.counts.tolist(), found.sums.forgotten) == ([9, 6, 4], 5)
    assert torch.equal(found.sums.targets, head.sums.targets[:, [0, 2, 3]])
    assert found.learned.labels.unique().tolist() == [0, 1, 2] == found.sample.labels.unique().tolist()
    assert not set(own.marks[own.labels == 1].tolist()) & {*found.learned.marks.tolist(), *found.sample.marks.tolist()}
    kept = own.take(own.labels != 1)
    phi = head.fourier(own.features[own.labels == 1])
    scatter = (phi - phi.mean(0)).T @ (phi - phi.mean(0))
    expected = solved_head.summed(empty(), relabelled(kept, (kept.labels - (kept.labels > 1).long()).tolist())).sums.gram
    assert (found.sums.gram - expected - scatter).abs().max() < 1e-12 * expected.abs().max()


def test_a_model_that_has_forgotten_most_classes_weighs_the_scatter_as_before():
    """The scatter of the forgotten images is still divided by their number."""
    own = images([60, 60, 4, 4], seed=3)
    head = learned(own)
    for left in ([1, 2, 3], [2, 3]):
        head = solved_head.forget(head, 0, None, texts(torch.tensor(left)))
    matrix, before = head.sums.matrices()[0], learned(own).sums
    means = before.targets / before.counts
    scatter = before.matrices()[0] - means @ means.T
    own_means = means[:, 2:]
    assert (matrix - (scatter / 2 + own_means @ own_means.T)).abs().max() < 1e-10  # two classes of four have half of it


def test_a_head_that_has_forgotten_everything_learns_again():
    own = images([5, 4, 6, 3])
    head = learned(own)
    for left in (3, 2, 1, 0):
        head = solved_head.forget(head, 0, own.take(own.labels == CLASSES - 1 - left).plus(own.take(own.labels < 0)), texts(left))
    assert head.weights.shape == (WIDTH + 1, 0)
    found = solved_head.add(head, own, texts())
    assert (found.weights - learned(own).weights).abs().max() < 1e-6 * found.weights.abs().max()


@PROPERTY
@given(counts, st.permutations(range(CLASSES)))
def test_two_classes_unite_as_if_they_had_been_one(per_class, order):
    own, (label, into, *_) = images(per_class), order
    kept = without(label)
    place = {**{int(other): row for row, other in enumerate(kept)}, label: int((kept == into).nonzero())}
    expected = solved_head.add(empty(), relabelled(own, [place[other] for other in own.labels.tolist()]), texts(kept))
    same(solved_head.unite(learned(own), label, into, texts(kept)), expected)


def test_a_united_head_weighs_images_and_texts_as_before():
    own, unbalanced = images([9, 3, 6, 4]), SolvedHead.empty(empty().fourier, class_balance=False, text_weight=0.2)
    head, kept = solved_head.add(unbalanced, own, texts()), without(1)
    found = solved_head.unite(head, 1, 3, texts(kept))
    labels = torch.tensor([0, 2, 1, 2])[own.labels]
    same(found, solved_head.add(unbalanced, replace(own, labels=labels), texts(kept)))
    assert found.calibration.text == found.text_weight == 0.2
    phi, target = head.fourier(own.features), torch.nn.functional.one_hot(labels).double()
    normal = phi.T @ phi * 3 / 22 + found.ridge * torch.eye(WIDTH + 1, dtype=torch.float64)
    explicit = torch.linalg.solve(normal, phi.T @ target * 3 / 22)
    assert (found.weights - explicit).abs().max() < 1e-8 * explicit.abs().max()


def test_the_evidence_of_merged_models_adds_up():
    one, other = learned(images([5, 5]), 2), learned(images([4, 4], seed=1), 2)
    pair = replace(one, evidence=Evidence(3, 1.0, 2.0, 0.5)), replace(other, evidence=Evidence(4, 0.25, 0.5, 1.0))
    assert solved_head.merge(*pair, [2, 3], texts()).evidence == Evidence(7, 1.25, 2.5, 1.5)


def test_the_sample_is_the_same_whatever_the_order(monkeypatch):
    monkeypatch.setattr(learned_images, "SAMPLE", 9)
    own = images([8, 8, 8, 8])
    order = torch.randperm(32, generator=torch.Generator().manual_seed(4))
    parts = [own.take(order[:16]), own.take(order[16:])]
    head = solved_head.add(solved_head.add(empty(), parts[0], texts()), parts[1], texts())
    same(head, learned(own))
    assert head.sample.marks.tolist() == sorted(own.marks.tolist())[:9]


def test_many_images_are_added_in_parts(monkeypatch):
    own = images([8, 8, 8, 8])
    expected = learned(own)
    monkeypatch.setattr(sums, "CHUNK", 5)
    same(learned(own), expected)


def test_images_are_left_out_with_their_copies():
    """Twice the same images say as much as once, and a class of copies as much as one of a single image."""
    own = images([6] * CLASSES)
    once = learned(own)
    twice = solved_head.add(once, own, texts(CLASSES))
    assert (once.left_out, twice.left_out) == (6 * CLASSES, 12 * CLASSES)
    assert twice.calibration.accuracy == pytest.approx(once.calibration.accuracy, abs=0.06)  # the ridge is a smaller one
    alone = learned(images([1] * CLASSES))
    copied = solved_head.add(alone, images([1] * CLASSES), texts(CLASSES))
    assert (alone.left_out, copied.left_out) == (0, 0)
    assert copied.calibration.accuracy is None
