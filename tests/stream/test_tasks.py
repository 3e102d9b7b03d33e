"""How a data set is split into tasks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import split_folder

from mgclip.errors import InputError
from mgclip.stream.data import Dataset, Split
from mgclip.stream.folder import find_folder
from mgclip.stream.tasks import make_tasks, task_sizes, unique_names


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 30))
def test_task_sizes_cover_all_classes(classes, initial, increment):
    if (initial or increment) > classes:
        with pytest.raises(InputError, match="lower initial_classes" if initial else "lower classes_per_task"):
            task_sizes(classes, initial=initial, increment=increment)
        return
    sizes = task_sizes(classes, initial=initial, increment=increment)
    assert sum(sizes) == classes
    assert sizes[0] == (initial or increment)
    assert all(size == increment for size in sizes[1:-1])
    assert min(sizes) >= 1


@given(st.data())
def test_tasks_split_classes_and_images_without_loss(data):
    classes = data.draw(st.integers(2, 8))
    extra = data.draw(st.lists(st.integers(0, classes - 1), max_size=30))
    labels = np.array(data.draw(st.permutations([*range(classes), *extra])), dtype=np.int64)
    order = data.draw(st.permutations(range(classes)))
    images = [f"image {i}" for i in range(len(labels))]
    part = Split(images, labels)
    dataset = Dataset("d", tuple(f"class {c}" for c in range(classes)), part, part)
    tasks = make_tasks(dataset, order, task_sizes(classes, initial=1, increment=2))
    assert [name for task in tasks for name in task.names] == [f"class {c}" for c in order]
    seen = []
    for task in tasks:
        positions = [int(image.split()[1]) for image in task.train.images]
        assert positions == sorted(positions)
        seen += positions
        for position, label in zip(positions, task.train.labels, strict=True):
            assert task.names[label] == f"class {labels[position]}"
            assert order[task.first + label] == labels[position]
    assert sorted(seen) == list(range(len(labels)))


def test_classes_with_the_same_name_become_unique_and_keep_their_text():
    part = Split(["a", "b", "c"], np.array([0, 1, 2]))
    first, second = make_tasks(Dataset("d", ("missile", "sea", "missile"), part, part), [2, 1, 0], [2, 1])
    assert (first.names, first.texts) == (("missile #2", "sea"), ("missile", "sea"))
    assert (second.names, second.texts) == (("missile",), ("missile",))


def test_a_task_needs_a_test_image(tmp_path):
    split_folder(tmp_path, {"cat": 1, "dog": 1, "emu": 1}, {"cat": 1, "dog": 1})
    dataset = find_folder(tmp_path).dataset
    assert len(make_tasks(dataset, [0, 1, 2], [1, 2])) == 2
    with pytest.raises(InputError, match=r"Task 3 of .* \(emu\) has no test image: add some\."):
        make_tasks(dataset, [0, 1, 2], [1, 1, 1])


def test_repeated_names_become_unique_whatever_the_others_are():
    assert unique_names(["missile", "missile", "cat"]) == ["missile", "missile #2", "cat"]
    assert unique_names(["missile", "missile", "missile #2", "missile"]) == [
        "missile",
        "missile #2",
        "missile #2 #2",
        "missile #3",
    ]
