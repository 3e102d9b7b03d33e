"""The model gets what a viewer displays: on white, upright, and as bright as the file declares."""

import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mgclip.errors import InputError
from mgclip.images import UnrotatedPath, open_image, to_rgb
from mgclip.rgb import TRANSPOSITIONS

GREY = np.add.outer(np.arange(24) * 4, np.arange(40) * 2).astype(np.uint8)
WHITE = 255


def assert_shows(image, wanted):
    rgb = to_rgb(image)
    assert rgb.mode == "RGB"
    assert np.abs(np.asarray(rgb).astype(int) - wanted[..., None]).max() <= 1


def test_opaque_pixels_are_unchanged():
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    colours[..., 3] = 255
    np.testing.assert_array_equal(np.asarray(to_rgb(colours)), colours[..., :3])
    np.testing.assert_array_equal(np.asarray(to_rgb(colours[..., :3])), colours[..., :3])
    np.testing.assert_array_equal(np.asarray(to_rgb(colours[..., :1]))[..., 0], colours[..., 0])


@pytest.mark.parametrize("brightest", [1, 200, 255, 256, 4095, 65535])
@pytest.mark.parametrize("name", ["x.png", "x.tif", "array"])
def test_sixteen_bits_are_scaled_by_their_type_whatever_the_brightest_pixel(tmp_path, name, brightest):
    deep = np.linspace(0, brightest, 960).round().astype(np.uint16).reshape(24, 40)
    image = Image.fromarray(deep)
    if name != "array":
        image.save(tmp_path / name)
    assert_shows(image if name == "array" else tmp_path / name, deep >> 8)


def test_sixteen_bits_are_read_in_either_byte_order():
    deep = GREY.astype(np.uint16) << 8
    assert_shows(Image.frombytes("I;16B", (40, 24), deep.astype(">u2").tobytes()), GREY)
    assert_shows(Image.frombytes("I;16L", (40, 24), deep.astype("<u2").tobytes()), GREY)


@pytest.mark.parametrize("maximum", [1023, 4095, 65535])
def test_a_portable_grey_map_is_scaled_by_its_own_maximum(tmp_path, maximum):
    deep = (GREY.astype(np.int64) * maximum // 255).astype(">u2")
    (tmp_path / "x.pgm").write_bytes(b"P5 40 24 %d\n" % maximum + deep.tobytes())
    assert_shows(tmp_path / "x.pgm", GREY)


def tiff(image, **tags):
    """The bytes of a TIFF file with tags by number, as ``t341=4095``."""
    directory = ImageFileDirectory_v2()
    for name, value in tags.items():
        directory[int(name[1:])] = value
        directory.tagtype[int(name[1:])] = 12 if isinstance(value, float) else 4
    buffer = io.BytesIO()
    image.save(buffer, "tiff", tiffinfo=directory)
    return buffer.getvalue()


def test_tiff_files_are_scaled_by_the_range_they_declare(tmp_path):
    twelve, real, integer = GREY.astype(np.uint16) << 4, GREY.astype(np.float32) / 256, GREY.astype(np.int32) << 16
    for image, tags in [
        (Image.fromarray(twelve), {"t340": 0, "t341": 4095}),
        (Image.fromarray(real), {"t340": 0.0, "t341": 1.0}),
        (Image.fromarray(real - 2), {"t340": -2.0, "t341": -1.0}),
        (Image.fromarray(integer), {"t340": 0, "t341": (1 << 24) - 1}),
    ]:
        (tmp_path / "x.tif").write_bytes(tiff(image, **tags))
        assert_shows(tmp_path / "x.tif", GREY)


@pytest.mark.parametrize(
    "change",
    [
        Image.Image.copy,
        lambda image: image.crop((0, 0, 20, 20)),
        lambda image: image.resize((20, 20)),
        lambda image: pickle.loads(pickle.dumps(image)),
    ],
)
@pytest.mark.parametrize("tags", [{"t340": 0, "t341": 4095}, {"t262": 0}])
def test_a_copy_that_lost_the_range_of_its_file_is_refused(change, tags):
    image = Image.open(io.BytesIO(tiff(Image.fromarray(GREY.astype(np.uint16) << 4), **tags)))
    to_rgb(image)
    with pytest.raises(InputError, match="loses the declared range of its values; give the path of the file"):
        to_rgb(change(image))


def test_a_tiff_file_whose_zero_is_white_is_inverted(tmp_path):
    (tmp_path / "x.tif").write_bytes(tiff(Image.fromarray(GREY.astype(np.uint16) << 8), t262=0))
    with Image.open(tmp_path / "x.tif") as image:
        assert image.tag_v2[262] == 0
    assert_shows(tmp_path / "x.tif", 255 - GREY.astype(int))


def test_values_without_a_declared_range_are_refused_in_one_sentence(tmp_path):
    for values, kind in [(GREY.astype(np.float32), "floating-point"), (GREY.astype(np.int32), "signed or 32-bit")]:
        image = Image.fromarray(values)
        image.save(tmp_path / "x.tif")
        with pytest.raises(InputError, match=rf"x.tif cannot be read \(its {kind} values have no declared range.*8 or 16 bits"):
            open_image(tmp_path / "x.tif")
        with pytest.raises(InputError, match=f"An image cannot be used: its {kind} values"):
            to_rgb(image)
    (tmp_path / "x.tif").write_bytes(tiff(Image.fromarray(GREY.astype(np.float32)), t340=1.0, t341=1.0))
    with pytest.raises(InputError, match="its declared range of values is 1 to 1"):
        open_image(tmp_path / "x.tif")


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif", "pillow"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path, name, orientation):
    """A picture that is dark at its top left when upright, stored in each of the eight ways."""
    upright = np.full((48, 64), 220, np.uint8)
    upright[:16, :32] = 20
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    stored = Image.fromarray(upright).convert("RGB")
    if orientation in TRANSPOSITIONS:
        stored = stored.transpose(back.get(orientation, TRANSPOSITIONS[orientation]))
    exif = Image.Exif()
    exif[274] = orientation
    file = tmp_path / ("x.jpg" if name == "pillow" else name)
    stored.save(file, exif=exif)
    shown = to_rgb(Image.open(file) if name == "pillow" else file)
    assert np.abs(np.asarray(shown).astype(int) - upright[..., None])[2:-2, 2:-2].mean() < 3
    assert shown.getexif().get(274) is None and to_rgb(shown).size == (64, 48)  # once is enough


def test_the_orientation_of_published_images_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (30, 20), "red").save(tmp_path / "x.jpg", exif=exif)
    assert open_image(tmp_path / "x.jpg").size == (20, 30)
    published = UnrotatedPath(tmp_path) / "x.jpg"
    assert open_image(published).size == to_rgb(published).size == (30, 20)
    assert to_rgb(open_image(published)).size == (30, 20)


def test_an_image_with_damaged_tags_is_read_without_a_warning(tmp_path, recwarn):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "x.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    warnings.simplefilter("always")  # as a program that resets the filters after the import
    assert open_image(tmp_path / "x.jpg").size == (30, 20)
    filters = list(warnings.filters)
    assert open_image(tmp_path / "x.jpg").size == to_rgb(Image.open(tmp_path / "x.jpg")).size == (30, 20)
    assert not recwarn.list
    assert warnings.filters == filters, "the filter is added once"


def test_a_photograph_of_a_hundred_megapixels_is_read_without_a_warning(tmp_path, recwarn):
    Image.new("1", (11_648, 8_736)).save(tmp_path / "x.png")
    warnings.simplefilter("always")
    assert open_image(tmp_path / "x.png").size == (11_648, 8_736)
    assert not recwarn.list


def test_importing_changes_no_warnings_filter():
    lines = (
        "import warnings, numpy, PIL.Image",
        "before = list(warnings.filters)",
        "import mgclip.images",
        "assert warnings.filters == before",
    )
    subprocess.run([sys.executable, "-c", "; ".join(lines)], check=True)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "1", "L", "P", "RGBX"])
def test_other_modes_become_rgb(mode):
    image = Image.new("LAB", (30, 20), (128, 0, 0)) if mode == "LAB" else Image.new("RGB", (30, 20), "red").convert(mode)
    assert np.abs(np.asarray(to_rgb(image)).astype(int) - np.asarray(image.convert("RGB"))).max() == 0


def test_anything_that_is_not_an_image_is_refused_in_one_sentence(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes((tmp_path / "x.png").read_bytes()[:1000])
    for image in (
        Image.open(tmp_path / "x.png"),
        np.zeros((0, 5, 3), np.uint8),
        Image.new("L", (0, 5)),
        [[1, 2], [3]],
        None,
        b"x",
    ):
        with pytest.raises(InputError):
            to_rgb(image)
