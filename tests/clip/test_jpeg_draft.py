"""With ``jpeg_draft`` a JPEG is decoded at reduced size, and its transformed pixels are nearly those of the complete image."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mgclip import MGCLIP, Method, Settings
from mgclip.clip.pixels import PreparedImages
from mgclip.clip.transform import Transform
from mgclip.errors import InputError
from mgclip.images import MemberImage, UnrotatedPath, open_image, to_rgb
from mgclip.method.methods import check_method

PLAIN = Transform(32, None, (32, 32), Image.Resampling.BICUBIC)
DRAFT = replace(PLAIN, jpeg_draft=True)
ANALYTIC = {"compensation": "analytic", "fusion": "calibrated", "adapt": "never", "features": 64}


def photograph(width, height, seed=0):
    """Coloured shapes with sharp edges, and noise: a shift by a part of a pixel shows."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST)).astype(float)
    return Image.fromarray((large + rng.normal(0, 6, large.shape)).clip(0, 255).astype(np.uint8))


def saved(image, file, orientation=1, **options):
    exif = Image.Exif()
    exif[274] = orientation
    image.save(file, quality=92, exif=exif, **options)
    return file


def transformed(transform, file):
    return PreparedImages([file], transform, keep_bytes=0).batch(torch.tensor([0]))[0].int()


def difference(file):
    apart = (transformed(DRAFT, file) - transformed(PLAIN, file)).abs().float()
    return apart.max().item(), apart.mean().item()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(512, 640), (519, 647), (263, 257)], ids=str)
def test_pixels_stay_nearly_the_same_in_every_orientation(tmp_path, size, orientation):
    """A side that is no multiple of 8 is decoded with a column or row that is only partly filled."""
    file = saved(photograph(*size), tmp_path / "x.jpg", orientation)
    most, mean = difference(file)
    assert 0 < mean < 1.3
    assert most <= 12


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((127, 300), (127, 300)),
        ((128, 300), (64, 150)),
        ((300, 129), (150, 65)),
        ((600, 256), (150, 64)),
        ((600, 511), (150, 128)),
        ((512, 999), (64, 125)),
        ((5000, 4000), (625, 500)),
    ],
)
def test_twice_the_size_that_is_needed_is_left(tmp_path, size, decoded):
    assert DRAFT.least_side == 64
    file = saved(Image.new("RGB", size), tmp_path / "x.jpg")
    assert open_image(file, least_side=DRAFT.least_side).size == decoded
    assert open_image(file).size == size


@pytest.mark.parametrize(
    ("transform", "least"),
    [
        (Transform(None, (30, 48), None, Image.Resampling.BICUBIC, jpeg_draft=True), 96),
        (Transform(None, None, (32, 32), Image.Resampling.BICUBIC, jpeg_draft=True), None),
        (PLAIN, None),
    ],
)
def test_the_longer_side_of_an_exact_size_counts_and_without_resizing_nothing_is_reduced(transform, least):
    assert transform.least_side == least


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_every_kind_of_jpeg_is_reduced(tmp_path, mode):
    file = saved(photograph(520, 520).convert(mode), tmp_path / "x.jpg", 6, progressive=mode == "RGB")
    assert open_image(file, least_side=64).size == (65, 65)
    most, mean = difference(file)
    assert 0 < mean < 1.3
    assert most <= 12


def test_an_image_of_several_pictures_is_reduced(tmp_path):
    file = tmp_path / "x.mpo"
    photograph(520, 512).save(file, "MPO", quality=92, save_all=True, append_images=[Image.new("RGB", (520, 512))])
    assert open_image(file, least_side=64).size == (65, 64)
    assert difference(file)[1] < 1.3


@pytest.mark.parametrize("ending", ["png", "webp", "tif", "gif", "bmp"])
def test_other_formats_are_unchanged(tmp_path, ending):
    photograph(400, 300).save(tmp_path / f"x.{ending}")
    assert difference(tmp_path / f"x.{ending}") == (0, 0)


def test_a_small_jpeg_a_pillow_image_and_an_array_are_unchanged(tmp_path):
    small = saved(photograph(120, 127), tmp_path / "x.jpg")
    assert difference(small) == (0, 0)
    large = saved(photograph(640, 512), tmp_path / "x.jpg")
    assert difference(Image.open(large)) == (0, 0)
    assert difference(np.asarray(Image.open(large))) == (0, 0)


def test_the_orientation_of_published_images_stays_ignored(tmp_path):
    file = UnrotatedPath(saved(photograph(520, 263), tmp_path / "x.jpg", 6))
    assert to_rgb(file, least_side=64).size == (130, 66)
    assert difference(file)[1] < 1.3


def test_an_image_in_a_shard_is_reduced_like_a_file(tmp_path):
    file = saved(photograph(520, 519), tmp_path / "x.jpg", 8)
    in_shard = MemberImage(file.read_bytes(), "x")
    assert torch.equal(transformed(DRAFT, in_shard), transformed(DRAFT, file))
    assert not torch.equal(transformed(PLAIN, in_shard), transformed(DRAFT, in_shard))


def test_a_damaged_jpeg_is_refused_at_any_size(tmp_path):
    file = saved(photograph(640, 512), tmp_path / "x.jpg")
    file.write_bytes(file.read_bytes()[:-3000])
    for transform in (PLAIN, DRAFT):
        with pytest.raises(InputError, match="cannot be read"):
            transformed(transform, file)


@pytest.fixture
def photographs(tmp_path):
    return [saved(photograph(300, 263, seed), tmp_path / f"{seed}.jpg", 1 + seed) for seed in range(6)]


def test_a_saved_model_opens_images_as_it_was_taught(tiny_clip, photographs, tmp_path):
    models = {}
    for draft in (True, False):
        models[draft] = MGCLIP.from_pretrained(tiny_clip, settings={**ANALYTIC, "jpeg_draft": draft})
        models[draft].learn(photographs, [0, 0, 0, 1, 1, 1], ["a", "b"])
        models[draft].save_pretrained(tmp_path / str(draft))
    for draft in (True, False):
        again = MGCLIP.from_pretrained(tmp_path / str(draft))
        assert again.settings.jpeg_draft is draft
        assert all(again.learned_as(photographs)), "the pixels are those that were learned"
        wanted = models[draft].predict(photographs).confidence
        np.testing.assert_allclose(again.predict(photographs).confidence, wanted, rtol=1e-6)
    assert not np.array_equal(*(model.predict(photographs).confidence for model in models.values()))


def test_models_that_open_images_in_different_ways_cannot_be_merged(tiny_clip, photographs):
    models = [
        MGCLIP.from_pretrained(tiny_clip, settings={**ANALYTIC, "gamma": 1.0, "jpeg_draft": draft}) for draft in (True, False)
    ]
    for model, name in zip(models, "ab", strict=True):
        model.learn(photographs[:3], [0] * 3, [name])
    with pytest.raises(InputError, match="jpeg_draft"):
        models[0].merge(models[1])


def test_how_images_are_opened_cannot_change_later(tiny_clip, photographs):
    model = MGCLIP.from_pretrained(tiny_clip, settings=ANALYTIC)
    model.learn(photographs[:3], [0] * 3, ["a"])
    with pytest.raises(InputError, match="jpeg_draft cannot change without training, because it decides how images are opened"):
        model.change_settings(jpeg_draft=True)


def test_it_is_off_and_one_method_of_a_run_cannot_have_it():
    """The methods of a run share their images."""
    assert Settings().jpeg_draft is False
    with pytest.raises(ValueError, match="jpeg_draft"):
        check_method(Method(about="a", source="b", changes={"jpeg_draft": True}))


def test_shards_are_learned_like_files(tiny_clip, photographs):
    class Shard(list):
        name = "shard"

    model = MGCLIP.from_pretrained(tiny_clip, settings={**ANALYTIC, "jpeg_draft": True})
    items = [(MemberImage(file.read_bytes(), file.name), name) for file, name in zip(photographs, "aaabbb", strict=True)]
    model.learn_shards([Shard(items)])
    assert model.learned_as(photographs) == [("a",)] * 3 + [("b",)] * 3
    content = io.BytesIO(photographs[0].read_bytes())
    assert model.learned_as([Image.open(content)]) == [()], "a Pillow image is not reduced"
