"""A solved head is read exactly as it was written, and refused if anything about it is wrong."""

import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save
from solved_heads import CLASSES, WIDTH, images, learned, texts

from mgclip import Settings
from mgclip.method.analytic import solved_files, solved_head
from mgclip.method.analytic.evidence import Evidence
from mgclip.method.analytic.random_features import RandomFeatures
from mgclip.method.analytic.solved_head import SolvedHead
from mgclip.method.methods import ANALYTIC


@pytest.fixture
def head():
    return learned(images([5, 1, 6, 4]))


def written(head):
    """The entry and the tensors, as they come back from JSON and safetensors."""
    return json.loads(json.dumps(solved_files.entry(head))), load(save(solved_files.tensors(head)))


def read(about, named, *, width=WIDTH, classes=CLASSES, **changes):
    settings = Settings(**ANALYTIC, features=width, seed=2, bank_per_class=3, **changes)
    return solved_files.restored(about, named, settings=settings, classes=classes)


def equal(found, expected):
    assert found.fourier == expected.fourier
    assert (found.ridge, found.calibration, found.per_class) == (
        expected.ridge,
        expected.calibration,
        expected.per_class,
    )
    assert found.sums.forgotten == expected.sums.forgotten
    for part in ("gram", "targets", "counts"):
        assert torch.equal(getattr(found.sums, part), getattr(expected.sums, part)), part
    assert torch.equal(found.weights, expected.weights)
    for part in ("learned", "sample"):
        for value in ("marks", "labels", "features"):
            assert torch.equal(getattr(getattr(found, part), value), getattr(getattr(expected, part), value)), value


def test_a_head_is_read_as_it_was_written(head):
    symmetric = (head.sums.gram + head.sums.gram.T) / 2
    assert (head.sums.gram - symmetric).abs().max() <= 1e-15 * symmetric.abs().max()
    found = read(*written(head))
    lower = torch.tril(head.sums.gram)
    assert torch.equal(found.sums.gram, lower + torch.tril(lower, -1).T)
    found.sums.gram.copy_(head.sums.gram)
    equal(found, head)
    equal(read(*written(found)), read(*written(read(*written(found)))))


def test_a_head_that_has_forgotten_is_read_as_it_was_written(head):
    forgetful = solved_head.forget(head, 2, None, texts(torch.tensor([0, 1, 3])))
    found = read(*written(forgetful), classes=3)
    assert found.sums.forgotten == 6
    assert torch.equal(found.weights, forgetful.weights)


def test_a_head_without_classes_is_read_as_it_was_written():
    empty = SolvedHead.empty(RandomFeatures(6, WIDTH, gamma=0.8, seed=2))
    equal(read(*written(empty), classes=0), empty)


def test_a_head_with_a_bank_is_read_as_it_was_written():
    own = images([5, 4, 6, 3])
    empty = SolvedHead.empty(RandomFeatures(6, WIDTH, gamma=0.8, seed=2), per_class=3)
    found = read(*written(head := solved_head.add(empty, own, texts())))
    for part in ("features", "counts", "classes"):
        assert torch.equal(getattr(found.bank, part), getattr(head.bank, part))
    assert found.per_class == 3


def undecided():
    """A head that also keeps the sums of the pre-trained CLIP, and evidence."""
    own = images([5, 4, 6, 3])
    own = replace(own, frozen=own.features.flip(0))
    empty = SolvedHead.empty(RandomFeatures(6, WIDTH, gamma=0.8, seed=2), per_class=3, undecided=True)
    head = solved_head.forget(solved_head.add(empty, own, texts()), 2, None, texts(torch.tensor([0, 1, 3])))
    return replace(head, evidence=Evidence(9, 4.5, 4.25, 0.125))


def test_an_undecided_head_is_read_as_it_was_written():
    found, head = read(*written(undecided()), classes=3), undecided()
    assert found.evidence == head.evidence
    assert found.frozen.forgotten == head.frozen.forgotten == 6
    assert (found.frozen.gram - head.frozen.gram).abs().max() <= 1e-14 * head.frozen.gram.abs().max()
    assert torch.equal(found.frozen.targets, head.frozen.targets)
    assert torch.equal(found.frozen.counts, head.frozen.counts)
    assert torch.equal(found.sample.frozen, head.sample.frozen)


@pytest.mark.parametrize("name", ["frozen_gram", "frozen_targets", "frozen_sample_features"])
def test_a_damaged_undecided_head_is_refused(name):
    about, named = written(undecided())
    with pytest.raises(ValueError, match=f"{name} has shape"):
        read(about, {**named, name: named[name][:-1]}, classes=3)
    with pytest.raises(ValueError, match=f"{name} contains NaN or infinite values"):
        read(about, {**named, name: named[name] * float("nan")}, classes=3)
    for other in {"frozen_targets", "frozen_sample_features", "bank"} - {name}:
        with pytest.raises(KeyError, match=other):
            read(about, {key: value for key, value in named.items() if key != other}, classes=3)


def test_an_ablation_is_read_as_it_was_written():
    fourier = RandomFeatures(6, WIDTH, gamma=0.8, seed=2, kernel="relu")
    head = solved_head.add(SolvedHead.empty(fourier, class_balance=False), images([5, 4, 6, 3]), texts())
    found = read(*written(head), kernel="relu", class_balance=False)
    assert (found.fourier, found.sums.class_balance) == (fourier, False)
    assert torch.equal(found.scorer.weights, head.scorer.weights)


DAMAGE = {
    "gram": r"gram has shape \(324,\); expected \(325,\)",
    "targets": r"targets has shape \(24, 4\); expected \(25, 4\)",
    "counts": r"counts has shape \(3,\); expected \(4,\)",
    "weights": r"weights has shape \(24, 4\); expected \(25, 4\)",
    "labels": r"labels has shape \(15,\); expected \(16,\)",
    "marks": r"labels has shape \(16,\); expected \(15,\)",
    "sample_labels": r"sample_labels has shape \(15,\); expected \(16,\)",
    "sample_marks": r"sample_labels has shape \(16,\); expected \(15,\)",
    "sample_features": r"sample_features has shape \(15, 6\); expected \(16, 6\)",
}


@pytest.mark.parametrize(("name", "sentence"), DAMAGE.items())
def test_a_tensor_of_another_shape_is_refused(head, name, sentence):
    about, named = written(head)
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        read(about, {**named, name: named[name][:-1]})
    with pytest.raises(ValueError, match=r"has shape"):
        read(about, {**named, name: named[name][None]})
    with pytest.raises(KeyError, match=name):
        read(about, {other: tensor for other, tensor in named.items() if other != name})


@pytest.mark.parametrize("name", DAMAGE)
def test_numbers_of_another_kind_are_refused(head, name):
    about, named = written(head)
    other = named[name].double() if "marks" in name or "labels" in name else named[name].long()
    with pytest.raises(ValueError, match=rf"^{name} has numbers of type (float|int)64$"):
        read(about, {**named, name: other})


@pytest.mark.parametrize("name", ["gram", "targets", "counts", "weights", "sample_features"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(head, name, value):
    about, named = written(head)
    named[name].view(-1)[-1] = value
    with pytest.raises(ValueError, match=f"^{name} contains NaN or infinite values$"):
        read(about, named)


@pytest.mark.parametrize("name", ["labels", "sample_labels"])
@pytest.mark.parametrize("value", [-1, CLASSES])
def test_a_class_out_of_range_is_refused(head, name, value):
    about, named = written(head)
    named[name][0] = value
    with pytest.raises(ValueError, match=f"^{name} contains a class that is out of range$"):
        read(about, named)


def test_counts_that_are_not_those_of_the_images_are_refused(head):
    about, named = written(head)
    named["counts"][0] = 7
    with pytest.raises(ValueError, match=r"^counts are not the numbers of images of the classes$"):
        read(about, named)
    named["counts"][:] = torch.tensor([6, 0, 6, 4])
    named["labels"][5] = 0  # the only image of class 1
    with pytest.raises(ValueError, match=r"^a class has no image$"):
        read(about, named)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dim": 0}, "dim must be at least 1; found 0"),
        ({"dim": float("inf")}, "dim must be a"),
        ({"dim": 5}, r"sample_features has shape \(16, 6\); expected \(16, 5\)"),
        ({"gamma": 0}, "gamma must be more than 0; found 0"),
        ({"gamma": float("nan")}, "gamma must be a finite number; found nan"),
        ({"gamma": float("inf")}, "gamma must be a finite number; found inf"),
        ({"gamma": None}, "gamma must be a number; found None"),
        ({"ridge": -1}, "ridge must be at least 0; found -1"),
        ({"ridge": float("inf")}, "ridge must be a finite number; found inf"),
        ({"forgotten": -1}, "forgotten must be at least 0; found -1"),
        ({"calibration": None}, "calibration must be a mapping"),
        ({"calibration": {"head": "x"}}, "calibration.head must be a number; found 'x'"),
        ({"calibration": {"text": float("nan")}}, "calibration.text must be a finite number; found nan"),
        ({"calibration": {"deviation": 0}}, "calibration.deviation must be more than 0; found 0"),
        ({"calibration": {"deviation": float("inf")}}, "calibration.deviation must be a finite number; found inf"),
        ({"calibration": {"likeness": [0.1, "x"]}}, r"calibration.likeness.1 must be a number; found 'x'"),
        ({"calibration": {"accuracy": float("nan")}}, "calibration.accuracy must be a finite number; found nan"),
    ],
)
def test_numbers_out_of_range_are_refused(head, changes, sentence):
    about, named = written(head)
    with pytest.raises(ValueError, match=f"^{sentence}"):
        read({**about, **changes}, named)


@pytest.mark.parametrize("about", [None, [], "x", 3])
def test_an_entry_that_is_no_mapping_is_refused(head, about):
    with pytest.raises(ValueError, match="must be a mapping"):
        read(about, written(head)[1])


@pytest.mark.parametrize("name", ["dim", "gamma", "ridge", "calibration"])
def test_an_entry_without_a_number_is_refused(head, name):
    about, named = written(head)
    del about[name]
    with pytest.raises(ValueError, match=f"^{re.escape(name)} is missing$"):
        read(about, named)
