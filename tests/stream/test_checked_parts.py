"""Data sets of other packages: labels that do not fit the images are refused, and lists and tensors are converted."""

import io
import re

import numpy as np
import pandas as pd
import pytest
import torch
from own_packages import forget_registered
from PIL import Image

from mgclip import Dataset, DatasetEntry, Split, register_dataset
from mgclip.clip.pixels import PreparedImages
from mgclip.errors import InputError, MGCLIPError
from mgclip.stream.data import Subset
from mgclip.stream.datasets import load_dataset
from mgclip.stream.files import image_group
from mgclip.stream.layout import FoundDataset
from mgclip.stream.unreadable import find_unreadable

IMAGES = [np.full((8, 8, 3), value, np.uint8) for value in range(4)]
RIGHT = Split(IMAGES, np.array([0, 0, 1, 1]))


@pytest.fixture(params=["make", "find"])
def load(request, tmp_path):
    """Load a data set that a registered function made, or found."""

    def call(dataset):
        if request.param == "make":
            register_dataset("mine", DatasetEntry("mine", "here", make=lambda test_only: dataset))
            return load_dataset("mine", path=None)
        register_dataset("mine", DatasetEntry("mine", "here", find=lambda root, test_only: FoundDataset(dataset, str(root))))
        return load_dataset("mine", path=str(tmp_path))

    yield call
    forget_registered()


@pytest.mark.parametrize(
    "labels", [[0, 0, 1, 1], (0, 0, 1, 1), torch.tensor([0, 0, 1, 1]), np.array([0, 0, 1, 1], np.uint8)], ids=repr
)
def test_labels_may_be_a_list_a_tensor_or_any_whole_numbers(load, labels):
    found = load(Dataset("mine", ["a", "b"], Split(IMAGES, labels), RIGHT))
    assert found.class_names == ("a", "b")
    assert (found.train.labels.dtype, found.train.labels.tolist()) == (np.int64, [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0, 1], "ValueError: expected one label for each image of train; found 4 images, 2 labels"),
        ([], "ValueError: expected one label for each image of train; found 4 images, 0 labels"),
        ([0, 0, 1, 1, 1], "ValueError: expected one label for each image of train; found 4 images, 5 labels"),
        ([0, 0, 1, 2], "ValueError: expected labels of train from 0 to 1; found 2"),
        ([0, 0, 1, -1], "ValueError: expected labels of train from 0 to 1; found -1"),
        ([0.0, 0.0, 1.0, 1.0], r"expected whole numbers in one dimension as labels of train; found float64 in the shape \(4,\)"),
        ([True, False, True, False], "expected whole numbers in one dimension as labels of train; found bool"),
        (["a", "a", "b", "b"], "expected whole numbers in one dimension as labels of train; found <U1"),
        ([[0], [0], [1], [1]], r"expected whole numbers in one dimension as labels of train; found int64 in the shape \(4, 1\)"),
        (None, r"expected whole numbers in one dimension as labels of train; found object in the shape \(\)"),
    ],
    ids=repr,
)
def test_labels_that_do_not_fit_the_images_are_refused(load, labels, sentence):
    with pytest.raises(MGCLIPError, match=rf"^The data set mine of the package tests failed when it .* \(.*{sentence}"):
        load(Dataset("mine", ("a", "b"), Split(IMAGES, labels), RIGHT))


def test_the_rows_of_a_shuffled_table_keep_their_labels(load):
    table = pd.DataFrame({"image": IMAGES, "label": [0, 0, 1, 1]}).iloc[[2, 0, 3, 1]]
    found = load(Dataset("mine", ("a", "b"), Split(table["image"], table["label"]), RIGHT))
    assert found.train.labels.tolist() == [1, 0, 1, 0]
    assert [int(found.train.images[place].max()) for place in range(4)] == [2, 0, 3, 1]


def test_an_image_whose_group_is_missing_is_in_none(load):
    class Photos(list):
        def group_of(self, position):
            return (None, float("nan"), pd.NA, 7)[position]

    photos = Split(Photos(IMAGES), RIGHT.labels)
    found = load(Dataset("mine", ("a", "b"), photos, photos))
    assert [image_group(found.test.images, position) for position in range(4)] == [None, None, None, "7"]


@pytest.mark.parametrize(
    "images",
    [(image for image in IMAGES), dict(enumerate(IMAGES)), {1, 2, 3, 4}, "four", pd.DataFrame({"image": IMAGES})],
    ids=["generator", "dict", "set", "text", "table"],
)
def test_images_that_have_no_number_are_refused(load, images):
    kind = type(images).__name__
    with pytest.raises(MGCLIPError, match=rf"expected a list, an array or another sequence as images of train; found {kind}"):
        load(Dataset("mine", ("a", "b"), Split(images, RIGHT.labels), RIGHT))


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (Dataset("mine", (1, 2), RIGHT, RIGHT), r"expected a tuple of texts as class_names; found \(1, 2\)"),
        (Dataset("mine", "ab", RIGHT, RIGHT), "expected a tuple of texts as class_names; found 'ab'"),
        (Dataset("mine", ("a", "b"), RIGHT, IMAGES), "expected a Split as test; found list"),
        (Dataset("mine", (), RIGHT, RIGHT), r"expected a tuple of texts as class_names; found \(\)"),
        (RIGHT, "expected a Dataset; found Split"),
    ],
    ids=["numbers", "one text", "no split", "no class", "no data set"],
)
def test_parts_of_another_type_are_refused(load, dataset, sentence):
    with pytest.raises(MGCLIPError, match=rf"^The data set mine of the package tests failed when it .* \(.*{sentence}"):
        load(dataset)


def test_what_find_returns_must_be_a_found_data_set(tmp_path):
    register_dataset("mine", DatasetEntry("mine", "here", find=lambda root, test_only: Dataset("mine", ("a",), RIGHT, RIGHT)))
    try:
        with pytest.raises(MGCLIPError, match="expected a FoundDataset or None; found Dataset"):
            load_dataset("mine", path=str(tmp_path))
    finally:
        forget_registered()


def test_a_data_set_without_files_takes_no_path(tmp_path):
    register_dataset("mine", DatasetEntry("mine", "here", make=lambda test_only: Dataset("mine", ("a", "b"), RIGHT, RIGHT)))
    try:
        with pytest.raises(InputError, match=f"^mine is made when it is used and takes no path: leave {tmp_path} out.$"):
            load_dataset("mine", path=str(tmp_path))
    finally:
        forget_registered()


class Opened:
    """Images that are opened when they are looked up; image 2 by ``broken``."""

    def __init__(self, broken):
        self.broken = broken

    def __len__(self):
        return 4

    def __getitem__(self, position):
        return self.broken() if position == 2 else IMAGES[position]

    def group_of(self, position):
        return f"patient {position // 2}"


def fails():
    raise RuntimeError("cannot decode 2")


def not_an_image():
    return Image.open(io.BytesIO(b"text"))


def cut_short():
    content = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(content, "png")
    return Image.open(io.BytesIO(content.getvalue()[:60]))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (fails, "cannot decode 2"),
        (lambda: np.zeros((3, 8, 8), np.uint8), "An image array must be uint8 of shape .*; found uint8 (3, 8, 8)"),
        (lambda: np.zeros((8, 8, 3)), "An image array must be uint8 of shape .*; found float64 (8, 8, 3)"),
        (lambda: None, "Each image must be a path, a Pillow image or a uint8 array; found one of type NoneType"),
        (not_an_image, "not an image in a supported format"),
        (cut_short, "An image cannot be used: .*"),
    ],
    ids=["error", "shape", "type", "none", "no image", "cut short"],
)
def test_an_image_that_cannot_be_opened_is_named_with_its_data_set(load, broken, reason):
    images = Opened(broken)
    found = load(Dataset("mine", ("a", "b"), Split(images, RIGHT.labels), Split(Subset(images, np.array([1, 2])), [0, 1])))
    assert found.train.images[3].max() == 3 and image_group(found.train.images, 3) == "patient 1"
    for part, place in (("train", 2), ("test", 1)):
        own = getattr(found, part)
        sentence = rf"^The data set mine of the package tests failed when it opened image 2 of {part} \(\w+: .+\): report it"
        with pytest.raises(MGCLIPError, match=sentence):
            PreparedImages(own.images, lambda images: torch.zeros(1, 3, 2, 2)).batch(torch.tensor([place]))
        [skipped] = find_unreadable([(0, part, own)])
        assert skipped.image == f"image 2 of {part}"
        assert re.fullmatch(re.escape(reason).replace(r"\.\*", ".*"), skipped.reason)


def test_images_of_another_package_can_be_listed(load):
    found = load(Dataset("mine", ("a", "b"), RIGHT, RIGHT))
    assert [int(image.max()) for image in found.train.images] == [0, 1, 2, 3]
    assert found.train.images[-1].max() == 3
