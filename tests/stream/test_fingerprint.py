"""The digest of a stream's data."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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


@pytest.mark.parametrize("kind", [Image.fromarray, torch.from_numpy, lambda pixels: pixels.tobytes()])
def test_other_pixels_of_images_of_other_kinds_are_noticed(kind):
    assert difference(digest(0, kind), digest(0, kind)) is None
    assert difference(digest(0, kind), digest(1, kind)) == "task 1: its train images are different, or in another order"


@pytest.mark.parametrize("kind", [str, Path])
def test_other_files_in_a_list_of_paths_are_noticed(tmp_path, kind):
    for place in (tmp_path / "here", tmp_path / "moved"):
        (place / "photos").mkdir(parents=True)
        for n in range(40):
            (place / "photos" / f"{n}.png").write_bytes(b"x" * n)

    def listed(place, order=range(40)):
        split = Split([kind(tmp_path / place / "photos" / f"{n}.png") for n in order], np.arange(4).repeat(10))
        return fingerprint(make_tasks(Dataset("made", ("a", "b", "c", "d"), split, split), range(4), [2, 2]))

    before = listed("here")
    assert difference(before, listed("moved")) is None
    assert difference(before, listed("here", [1, 0, *range(2, 40)])) is not None
    (tmp_path / "here" / "photos" / "39.png").write_bytes(b"another image")
    assert difference(before, listed("here")) == "task 2: its train images are different, or in another order"


def test_an_image_that_cannot_be_opened_does_not_stop_the_fingerprint():
    class Broken(list):
        def __getitem__(self, index):
            raise ValueError("damaged")

    split = Split(Broken([0, 0]), np.arange(2))
    assert fingerprint(make_tasks(Dataset("made", ("a", "b"), split, split), range(2), [2]))


def test_images_of_an_unknown_kind_are_not_compared():
    assert "pixels" not in digest(0, lambda pixels: {"bytes": pixels.tobytes()})["task 1"]["train"]
