"""Resizing and cropping equal those of torchvision at any size, because CLIP was trained with it."""

import json
from pathlib import Path

import crops
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPImageProcessorPil

from mgclip.clip.load import load_backbone
from mgclip.clip.transform import Transform, crop_box

RECORDED = json.loads((Path(__file__).parents[1] / "crops.json").read_text())


def processor(**changes):
    return CLIPImageProcessorPil(**changes)


def pixels(transform, image):
    return transform([image])[0].permute(1, 2, 0).numpy()


def test_sizes_and_crops_equal_torchvisions_at_300_sizes():
    transform = Transform.of(processor())
    assert len(RECORDED) == 300
    for (width, height), resized, (left, top) in RECORDED:
        assert transform.size(width, height) == tuple(resized), (width, height)
        assert crop_box(tuple(resized), (crops.SIDE, crops.SIDE))[:2] == (left, top), (width, height)


@pytest.mark.parametrize("recorded", RECORDED[:60:3], ids=str)
def test_pixels_are_those_of_pillow_at_the_recorded_place(recorded):
    size, resized, (left, top) = recorded
    full = np.asarray(crops.image(*size).resize(resized, Image.Resampling.BICUBIC))
    wanted = full[top : top + crops.SIDE, left : left + crops.SIDE]
    np.testing.assert_array_equal(pixels(Transform.of(processor()), crops.image(*size)), wanted)


@settings(deadline=None, max_examples=200)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(1, 40),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.sampled_from(Image.Resampling),
)
def test_pixels_are_those_of_an_image_that_is_cropped_after_it_was_resized(size, shorter, crop, resample):
    """At any size and with any filter, though columns that are not needed are dropped between both passes."""
    transform = Transform(shorter, None, crop, resample)
    resized = crops.image(*size).resize(transform.size(*size), resample)
    np.testing.assert_array_equal(pixels(transform, crops.image(*size)), np.asarray(resized.crop(crop_box(resized.size, crop))))


def test_a_backbone_crops_where_torchvision_does(tiny_clip):
    """64 x 40 becomes 51 x 32; half of 19 is rounded to the even 10."""
    backbone = load_backbone(tiny_clip)
    image = crops.image(64, 40)
    wanted = np.asarray(image.resize((51, 32), Image.Resampling.BICUBIC).crop((10, 0, 42, 32)))
    np.testing.assert_array_equal(pixels(backbone.transform, image), wanted)


def test_a_transform_to_one_size_and_one_without_resizing():
    exact = Transform.of(processor(size={"height": 30, "width": 32}, do_center_crop=False))
    assert exact([crops.image(64, 40)]).shape == (1, 3, 30, 32)
    cropped = pixels(Transform.of(processor(do_resize=False, crop_size={"height": 32, "width": 32})), crops.image(20, 41))
    assert not cropped[:, :6].any() and not cropped[:, 26:].any()  # centred on black, as torchvision pads
    np.testing.assert_array_equal(cropped[:, 6:26], np.asarray(crops.image(20, 41))[4:36])  # 4.5 is rounded to the even 4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"size": {"longest_edge": 32}}, "longest_edge"), ({"do_center_crop": False}, "gives images of different sizes")],
)
def test_transforms_that_are_not_supported_are_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        Transform.of(processor(**changes))


def test_normalised_pixels_equal_those_of_the_image_processor(tiny_clip):
    """The stored bytes, normalised, equal what the complete image processor gives, if it crops where torchvision does."""
    backbone = load_backbone(tiny_clip)
    rng = np.random.default_rng(0)
    images = [
        Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in [(40, 62), (62, 40), (32, 32), (20, 33)]
    ]
    full = backbone.processor(images, return_tensors="pt")["pixel_values"]
    mean, std = backbone._mean_std
    ours = (backbone.transform(images).float() / 255 - mean) / std
    torch.testing.assert_close(ours, full, rtol=1e-5, atol=1e-6)
