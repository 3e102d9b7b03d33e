"""Images are accepted in every common form, with one result per image, or refused in one sentence."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from icon_tasks import task
from PIL import Image

from mgclip import MGCLIP
from mgclip.errors import InputError
from mgclip.image_lists import image_list
from mgclip.images import to_rgb


@pytest.fixture
def three():
    """Three colour images, 6 wide and 5 high."""
    return np.random.default_rng(0).integers(0, 256, (3, 5, 6, 3), dtype=np.uint8)


def pixels(images):
    return np.stack([np.asarray(to_rgb(image)) for image in image_list(images)])


FORMS = {
    "list": list,
    "generator": lambda x: (image for image in x),
    "map": lambda x: map(Image.fromarray, x),
    "values": lambda x: {str(i): image for i, image in enumerate(x)}.values(),
    "array": lambda x: x,
    "array, channels first": lambda x: x.transpose(0, 3, 1, 2),
    "tensor": lambda x: torch.from_numpy(x),
    "tensor, channels first": lambda x: torch.from_numpy(x).permute(0, 3, 1, 2),
    "tensor, float": lambda x: torch.from_numpy(x).permute(0, 3, 1, 2) / 255,
    "tensor, double": lambda x: torch.from_numpy(x).double() / 255,
    "tensor with gradient": lambda x: (torch.from_numpy(x) / 255).requires_grad_(),
    "list of tensors": lambda x: [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in x],
    "tuple of tensors": lambda x: tuple(torch.from_numpy(x)),
    "series": lambda x: pd.Series(list(x), index=[2, 0, 1]),
    "series by name": lambda x: pd.Series(list(x), index=list("cab")),
    "one column": lambda x: pd.DataFrame({"image": list(map(Image.fromarray, x))}, index=[2, 0, 1]),
}


@pytest.mark.parametrize("form", FORMS)
def test_three_images_are_accepted_in_any_form(three, form):
    assert np.array_equal(pixels(FORMS[form](three)), three)


SINGLE = {
    "pillow": Image.fromarray,
    "array": lambda x: x,
    "tensor": torch.from_numpy,
    "tensor, channels first": lambda x: torch.from_numpy(x).permute(2, 0, 1),
    "tensor, float": lambda x: torch.from_numpy(x).permute(2, 0, 1) / 255,
    "batch of one": lambda x: x[None],
}


@pytest.mark.parametrize("form", SINGLE)
@pytest.mark.parametrize("size", [(5, 6), (64, 64), (32, 32)])
def test_a_single_image_is_a_list_of_one(form, size):
    one = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert np.array_equal(pixels(SINGLE[form](one)), one[None])


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="this NumPy has no StringDType")
def test_texts_of_numpy_are_paths():
    assert image_list(np.array(["a.png", "b.png"], dtype=np.dtypes.StringDType())) == ["a.png", "b.png"]


def test_a_single_path_is_a_list_of_one(three, tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(three[0]).save(file)
    for one in (file, str(file), np.array(str(file)), [file], np.array([[str(file)]]), pd.DataFrame({"file": [file]})):
        assert np.array_equal(pixels(one), three[:1])


def test_grey_images_need_no_channel_axis(three):
    grey = three[..., 0]
    expected = grey[..., None].repeat(3, -1)
    five = np.concatenate([grey, grey[:2]])
    for form in (five, torch.from_numpy(five), five[..., None], five[:, None], torch.from_numpy(five)[:, None]):
        assert np.array_equal(pixels(form)[:3], expected)
        assert len(image_list(form)) == 5
    for one in (grey[0], torch.from_numpy(grey[0]), torch.from_numpy(grey[:1]), grey[:1], grey[0][..., None]):
        assert np.array_equal(pixels(one), expected[:1])


@pytest.mark.parametrize(
    "shape", [(96, 7, 5), (256, 16, 8), (1797, 8, 8), (1000, 28, 28), (5, 40, 30), (100, 128, 32), (6, 40, 10)]
)
def test_small_and_narrow_grey_images_are_no_channels(shape):
    stack = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for form in (stack, torch.from_numpy(stack)):
        assert np.array_equal(pixels(form)[..., 0], stack)
    assert np.array_equal(pixels(list(stack))[..., 0], stack)


def test_narrow_grey_images_can_be_a_list():
    assert len(image_list(list(np.zeros((40, 30, 5), np.uint8)))) == 40


def test_a_lazy_sequence_is_not_read_before_it_is_needed():
    class Lazy:
        def __len__(self):
            return 5

        def __getitem__(self, place):
            raise AssertionError("read too early")

    lazy = Lazy()
    assert image_list(lazy) is lazy


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (b"\x89PNG", r"found bytes: open it with PIL\.Image\.open first"),
        (io.BytesIO(b"x"), r"found BytesIO: open it with PIL\.Image\.open first"),
        ({"image": []}, "images must be a list of paths, Pillow images or uint8 arrays; found dict"),
        ({"a.png", "b.png"}, "found set"),
        (None, "found NoneType"),
        (3, "found int"),
        (np.array(3), r"found an array of shape \(\)"),
        (np.zeros(7, np.uint8), r"found an array of shape \(7,\)"),
        (np.zeros((2, 2, 2, 2, 2), np.uint8), r"found an array of shape \(2, 2, 2, 2, 2\)"),
        (np.zeros((3, 28, 28), np.uint8), r"may be one image with its channels first, or 3 grey images"),
        (np.asarray(Image.new("LA", (9, 7))), r"shape \(7, 9, 2\) is probably a grey image with transparency"),
        (np.zeros((40, 30, 5), np.uint8), r"shape \(40, 30, 5\) is probably one image with 5 channels: give 1, 3 or 4 of them"),
        (np.zeros((64, 64, 13), np.uint8), r"probably one image with 13 channels: .* a list of arrays \(h, w\)"),
        (torch.zeros(40, 30, 5), r"probably one image with 5 channels"),
        ("a.png\nb.png\n", r"found one text of 3 lines: give text\.splitlines\(\)"),
        (pd.DataFrame({"file": ["a"], "label": ["b"]}), "found a table of 2 columns: choose the column of the images"),
        (torch.randn(2, 3, 8, 8) * 3, r"must hold values in 0\.\.1; found -.*without normalising them"),
        (torch.full((3, 8, 8), float("nan")), r"must hold values in 0\.\.1; found nan"),
        (torch.full((2, 3, 8, 8), 200.0), r"must hold values in 0\.\.1; found 200 to 200"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), r"must be uint8, or floating point in 0\.\.1; found torch\.int64"),
        ([torch.zeros(2, 3, 8, 8)], r"Each item of images must be one image; found a tensor of shape \(2, 3, 8, 8\)"),
    ],
)
def test_anything_that_is_not_a_list_of_images_is_refused(images, sentence):
    with pytest.raises(InputError, match=sentence):
        image_list(images)


@pytest.mark.parametrize(
    "item",
    [
        b"\x89PNG",
        io.BytesIO(b"x"),
        None,
        float("nan"),
        ["a.png", "b.png"],
        {"image": "a.png"},
        (Image.new("RGB", (9, 7)), 3),  # of a data set that yields images with their labels
    ],
)
def test_an_item_that_is_not_an_image_is_named_by_its_type(item):
    kind = type(item).__name__
    with pytest.raises(InputError, match=f"a path, a Pillow image or a uint8 array; found one of type {kind}"):
        to_rgb(item)


def test_a_folder_is_not_an_image(tmp_path):
    with pytest.raises(InputError, match=r"found the folder .*: list the files in it"):
        image_list(tmp_path)


def test_learning_and_predicting_take_the_same_forms(tiny_clip, quick, icons, tmp_path):
    images, labels, names = task(icons, [0, 1])
    models = [MGCLIP.from_pretrained(tiny_clip, settings=quick) for _ in range(3)]
    for model, given in zip(models, (images, (image for image in images), torch.from_numpy(np.stack(images))), strict=True):
        model.learn(given, labels, names)
    first, *others = (model.predict(images).probabilities.tobytes() for model in models)
    assert others == [first, first]
    file = tmp_path / "a.png"
    Image.fromarray(images[0]).save(file)
    expected = models[0].predict(images[:1]).probabilities
    for one in (images[0], file, str(file), Path(file), Image.fromarray(images[0]), torch.from_numpy(images[0])):
        assert np.array_equal(models[0].predict(one).probabilities, expected)
    assert len(models[0].predict([])) == 0
    with pytest.raises(InputError, match="candidates must be a list of texts; found 'a submarine'"):
        models[0].predict(images, candidates="a submarine")
    assert models[0].predict(images, candidates=(text for text in ["a submarine"])).classes == (*names, "a submarine")
