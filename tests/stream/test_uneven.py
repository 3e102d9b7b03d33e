"""Long-tailed and blurry streams."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from mgclip.errors import InputError
from mgclip.experiment.open_run import build_stream
from mgclip.experiment.recipe import build_recipe, load_recipe
from mgclip.stream.data import Dataset, Split
from mgclip.stream.fingerprint import difference, fingerprint
from mgclip.stream.tasks import describe_task, join_tasks, make_tasks, trained_classes, training_counts
from mgclip.stream.uneven import blurred, long_tailed, shuffled_ranks


def numbered(classes, each):
    """Images that are numbers, so that each can be recognised: image k of class c is ``1000 c + k``."""
    labels = np.arange(classes).repeat(each)
    images = [1000 * int(label) + k for label, k in zip(labels, np.tile(np.arange(each), classes), strict=True)]
    test = Split([-1 - c for c in range(classes)], np.arange(classes))
    return Dataset("numbers", tuple(f"class {c}" for c in range(classes)), Split(images, labels), test)


def images_of(task):
    return [task.train.images[k] for k in range(len(task.train.images))]


def test_a_long_tail_of_factor_100_has_the_published_counts():
    """CIFAR-100-LT: 500 * 0.01 ** (i / 99) images of class i, rounded down; 10,847 in all."""
    left = long_tailed(numbered(100, 500), 100, range(100), seed=0)
    counts = np.bincount(left.train.labels)
    assert counts.tolist() == [int(500 * 0.01 ** (i / 99.0) + 1e-9) for i in range(100)]
    assert (counts.sum(), counts[0], counts[-1]) == (10_847, 500, 5)
    assert len(left.test.labels) == 100


def test_rare_classes_are_drawn_by_the_seed_apart_from_the_class_order():
    stream = build_stream(load_recipe("icons100-lt"))
    counts = training_counts(stream)
    assert counts.sum() == 10_847
    assert sorted(counts, reverse=True) != counts.tolist()
    assert abs(np.corrcoef(counts, np.arange(100))[0, 1]) < 0.3  # rare classes come early and late
    other = training_counts(build_stream(load_recipe("icons100-lt", ["seed=1"])))
    assert sorted(other) == sorted(counts)
    assert shuffled_ranks(100, 0) != shuffled_ranks(100, 1)
    ordered = training_counts(build_stream(load_recipe("icons100-lt", ["imbalance_order=ordered"])))
    assert ordered.tolist() == sorted(counts, reverse=True)


def test_no_class_is_left_without_an_image_and_small_classes_keep_what_they_have():
    data = numbered(4, 6)
    few = replace(data, train=data.train.take(np.array([0, *range(6, 24)])))  # one image of the first class
    left = long_tailed(few, 1000, range(4), seed=0)
    assert np.bincount(left.train.labels).tolist() == [1, 1, 1, 1]
    assert long_tailed(data, 1, range(4), seed=0) is data


def test_a_smaller_factor_keeps_the_images_of_a_larger_one():
    kept = [long_tailed(numbered(10, 50), factor, range(10), seed=3).train for factor in (50, 5)]
    few, more = ({split.images[k] for k in range(len(split.labels))} for split in kept)
    assert few < more


def blurry(classes=6, each=20, share=0.3, seed=0):
    tasks = make_tasks(numbered(classes, each), list(reversed(range(classes))), [2] * (classes // 2))
    return tasks, blurred(tasks, share, seed)


def test_a_share_of_each_class_comes_in_later_tasks():
    before, stream = blurry()
    assert [task.names for task in stream] == [task.names for task in before]
    seen = [image for task in stream for image in images_of(task)]
    assert sorted(seen) == sorted(image for task in before for image in images_of(task))  # each image once
    for task in stream:
        labels, classes = trained_classes(stream, task)
        assert [f"class {image // 1000}" for image in images_of(task)] == labels
        assert list(classes)[:2] == list(task.names)
        assert set(labels) == set(classes)
        facts = describe_task(stream, task)
        last = task.index == 2
        assert set(facts["classes"].values()) == {20 if last else 14}
        assert all(name in {name for earlier in stream[: task.index] for name in earlier.names} for name in facts["returning"])
    assert training_counts(stream).tolist() == [20] * 6
    assert describe_task(stream, stream[1])["returning"]
    assert sum(describe_task(stream, stream[2])["returning"].values()) > 12  # those of the second task all come in the third


def test_the_number_of_images_that_come_later_is_rounded():
    for share, later in ((0.24, 2), (0.27, 3), (1.0, 9)):  # of ten; at least one stays
        stream = blurry(each=10, share=share)[1]
        assert {number for task in stream[:-1] for number in describe_task(stream, task)["classes"].values()} == {10 - later}


def test_what_comes_back_depends_on_the_seed_alone():
    assert [images_of(task) for task in blurry()[1]] == [images_of(task) for task in blurry()[1]]
    assert [images_of(task) for task in blurry()[1]] != [images_of(task) for task in blurry(seed=1)[1]]
    at_least_one = blurry(each=1, share=0.9)[1]
    assert all(not task.returning for task in at_least_one)


def test_the_joint_task_of_a_blurry_stream_has_all_images():
    before, stream = blurry()
    joint = join_tasks(stream)
    assert images_of(joint) == images_of(join_tasks(before))
    assert joint.train.labels.tolist() == join_tasks(before).train.labels.tolist()


def test_the_first_tasks_are_the_same_if_the_stream_is_cut():
    changes = ["train_per_class=10", "test_per_class=1", "blurry=0.3"]
    whole, cut = (build_stream(load_recipe("icons100-blurry", [*changes, *more])) for more in ([], ["tasks=3"]))
    assert fingerprint(cut) == {name: fingerprint(whole)[name] for name in ("task 1", "task 2", "task 3")}


def test_the_fingerprint_includes_what_comes_back():
    stream, other = blurry()[1], blurry(seed=1)[1]
    own = fingerprint(stream)
    assert own["task 2"]["returning"] == [0, 1]
    assert "returning" not in own["task 1"]
    assert difference(own, fingerprint(other)) is not None
    changed = {**own, "task 2": {**own["task 2"], "returning": [0]}}
    assert difference(own, changed) == "task 2: other classes come back"


@pytest.mark.parametrize(
    "method", ["fine-tune", "align", "rapf", "preservation-only", "compensation-only", "mg-clip", "mg-clip-replay"]
)
def test_methods_that_cannot_grow_are_refused_before_anything_is_loaded(method):
    with pytest.raises(InputError, match=rf"blurry brings images of known classes back, and {method} learns a class only once"):
        load_recipe("icons100-blurry", [f"methods=simplecil,{method}"])
    assert load_recipe("icons100-blurry", ["blurry=0", f"methods={method}"]).blurry == 0


@pytest.mark.parametrize(("key", "value"), [("blurry", 0.1), ("imbalance", 10)])
def test_a_stream_of_several_data_sets_is_even(key, value):
    with pytest.raises(InputError, match=f"{key} applies to a stream of one data set: leave {key} or datasets out"):
        build_recipe({"name": "two", "datasets": ["icons100", "cifar100"], "methods": ["simplecil"], key: value}, source="two")


def test_a_recipe_shows_its_stream(mgclip):
    code, printed, err = mgclip(
        "data", "show", "icons100-blurry", "train_per_class=10", "test_per_class=2", "tasks=2", "blurry=0.5"
    )
    assert (code, err) == (0, "")
    rows = [line.split() for line in printed.splitlines() if re.match(r"\s+\d+ ", line)]
    assert rows[0] == ["1", "10", "50", "5", "5", "5", "-", "20"]
    assert rows[1][:6] == ["2", "10", "50", "5", "5", "5"]
    assert int(rows[1][6]) > 0
    code, printed, err = mgclip("data", "show", "icons100-lt", "--json")
    assert (code, err) == (0, "")
    tasks = json.loads(printed)["tasks"]
    assert sum(sum(task["classes"].values()) for task in tasks) == 10_847
    assert mgclip("data", "show", "icons-100")[0] == 2
