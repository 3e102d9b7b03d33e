"""The digest of a stream's data."""

import numpy as np
import pytest

from mgclip.stream.data import Dataset, Split
from mgclip.stream.fingerprint import difference, fingerprint
from mgclip.stream.tasks import make_tasks


def digest(brightness, kind=np.asarray):
    images = [kind(np.full((4, 4, 3), brightness + n, np.uint8)) for n in range(40)]
    split = Split(images, np.arange(4).repeat(10))
    return fingerprint(make_tasks(Dataset("made", ("a", "b", "c", "d"), split, split), range(4), [2, 2]))


def test_other_pixels_of_a_data_set_that_is_made_are_noticed():
    assert difference(digest(0), digest(0)) is None
    assert difference(digest(0), digest(1)) == "task 1: its train images are different, or in another order"
    assert digest(0)["task 1"]["train"] != digest(0)["task 2"]["train"]


@pytest.mark.parametrize("swapped", [False, True])
def test_data_that_was_recorded_without_pixels_is_the_same(swapped):
    now = digest(0)
    earlier = {name: {**task, "train": {**task["train"]}, "test": {**task["test"]}} for name, task in now.items()}
    for task in earlier.values():
        del task["train"]["pixels"], task["test"]["pixels"]
    assert difference(*((now, earlier) if swapped else (earlier, now))) is None


def test_images_that_are_not_arrays_are_not_opened():
    assert "pixels" not in digest(0, lambda pixels: pixels.tobytes())["task 1"]["train"]
