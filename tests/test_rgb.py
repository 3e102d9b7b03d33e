"""The model gets what a viewer displays: on white, upright, and as bright as the file declares."""

import io
import pickle
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mgclip import MGCLIP
from mgclip.errors import InputError
from mgclip.images import UnrotatedPath, open_image, to_rgb
from mgclip.rgb import TRANSPOSITIONS

GREY = np.add.outer(np.arange(24) * 4, np.arange(40) * 2).astype(np.uint8)
WHITE = 255


@pytest.fixture
def glyph():
    """A black disc: how opaque each pixel is, with soft edges."""
    large = Image.new("L", (160, 160))
    ImageDraw.Draw(large).ellipse([30, 40, 120, 130], fill=255)
    return large.resize((40, 40), Image.Resampling.BOX)


def black_on_nothing(glyph):
    image = Image.new("RGBA", glyph.size)
    image.putalpha(glyph)
    return image


def palette(glyph):
    """Palette entry 1 where the disc is opaque, and 0 elsewhere; both are black."""
    image = Image.new("P", glyph.size)
    image.putpalette([0] * 768)
    image.paste(1, mask=glyph.point(lambda value: 255 * (value > 127)))
    return image


def seen(glyph, hard=False):
    """What the disc looks like on white."""
    cover = np.asarray(glyph).astype(int)
    return WHITE - (WHITE * (cover > 127) if hard else cover)


def assert_shows(image, wanted):
    rgb = to_rgb(image)
    assert rgb.mode == "RGB"
    assert np.abs(np.asarray(rgb).astype(int) - wanted[..., None]).max() <= 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.png", {}),
        ("x.webp", {"lossless": True}),
        ("x.tif", {}),
        ("x.ico", {"sizes": [(40, 40)]}),
        ("x.tga", {}),
        ("x.jp2", {}),
    ],
)
def test_files_with_an_alpha_channel_are_placed_on_white(tmp_path, glyph, name, options):
    black_on_nothing(glyph).save(tmp_path / name, **options)
    assert_shows(tmp_path / name, seen(glyph))


@pytest.mark.parametrize("name", ["x.png", "x.gif"])
def test_palettes_with_a_transparent_entry_are_placed_on_white(tmp_path, glyph, name):
    palette(glyph).save(tmp_path / name, transparency=0)
    assert_shows(tmp_path / name, seen(glyph, hard=True))


def test_palettes_with_an_alpha_for_each_entry_are_placed_on_white(tmp_path, glyph):
    palette(glyph).save(tmp_path / "x.png", transparency=bytes([0, 255]))
    assert_shows(tmp_path / "x.png", seen(glyph, hard=True))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa", "La"])
def test_pillow_images_are_placed_on_white(glyph, mode):
    image = black_on_nothing(glyph)
    assert_shows((image.convert("LA") if mode == "La" else image).convert(mode), seen(glyph))


def test_a_palette_with_an_alpha_channel_is_placed_on_white(glyph):
    image = black_on_nothing(glyph)
    alpha = image.getchannel("A")
    image = image.convert("P")
    image.putalpha(alpha)
    assert image.mode == "PA"
    assert_shows(image, seen(glyph))


@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_a_transparent_colour_is_white(tmp_path, glyph, mode):
    image = Image.fromarray(np.where(np.asarray(glyph) > 127, 255, 0).astype(np.uint8)).convert(mode)
    image.save(tmp_path / "x.png", transparency={"RGB": (0, 0, 0), "L": 0, "1": 0}[mode])
    assert_shows(tmp_path / "x.png", np.full((40, 40), WHITE))
    assert_shows(Image.open(tmp_path / "x.png"), np.full((40, 40), WHITE))


@pytest.mark.parametrize("bits", [2, 4, 16])
def test_a_transparent_grey_of_any_depth_is_white(tmp_path, bits):
    """Rows of grey 0, 1, 2, 3 in units of the depth; 1 is declared transparent."""
    rows = np.repeat(np.arange(4), 2)[:, None].repeat(8, 1)
    (tmp_path / "x.png").write_bytes(png_of_greys(rows, bits, transparent=1))
    shown = np.asarray(open_image(tmp_path / "x.png"))[:, 0, 0]
    units = {2: 85, 4: 17, 16: 0}[bits]
    assert shown.tolist() == [0, 0, 255, 255, 2 * units, 2 * units, 3 * units, 3 * units]


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 16])
def test_a_transparent_grey_of_a_loaded_image_is_white_or_refused(tmp_path, bits, copied):
    rows = np.repeat(np.arange(4), 2)[:, None].repeat(8, 1)
    (tmp_path / "x.png").write_bytes(png_of_greys(rows, bits, transparent=1))
    with Image.open(tmp_path / "x.png") as image:
        image.load()
        given = image.copy() if copied else image
        if bits == 16:
            assert np.asarray(to_rgb(given))[:, 0, 0].tolist() == [0, 0, 255, 255, 0, 0, 0, 0]
        else:
            with pytest.raises(InputError, match="the unit of its transparent grey is unknown; give the path of its file"):
                to_rgb(given)


@pytest.mark.parametrize(("key", "shown"), [(0, [255, 85, 170, 255]), (3, [0, 85, 170, 255]), (85, [0, 255, 170, 255])])
def test_the_transparent_grey_of_a_loaded_image_is_used_if_no_unit_changes_it(tmp_path, key, shown):
    image = Image.fromarray(np.array([[0, 85, 170, 255]], np.uint8))
    if key == 3:
        image.putpixel((3, 0), 254)  # not a value of 2 or 4 bits, so neither is the key
        shown = [*shown[:3], 254]
    image.save(tmp_path / "x.png", transparency=key)
    with Image.open(tmp_path / "x.png") as image:
        image.load()
        assert np.asarray(to_rgb(image))[0, :, 0].tolist() == shown


@pytest.mark.parametrize("options", [{"lossless": True}, {"minimize_size": True}, {"quality": 80}])
def test_an_animation_whose_first_frame_is_smaller_is_placed_on_white(tmp_path, options):
    """The encoder stores only the part of the first frame that is not transparent, and declares the file opaque."""
    frames = [Image.new("RGBA", (64, 48)) for _ in range(2)]
    frames[0].paste((200, 20, 30, 255), (16, 8, 40, 32))
    frames[1].paste((20, 20, 230, 255), (20, 12, 50, 40))
    frames[0].save(tmp_path / "x.webp", save_all=True, append_images=frames[1:], **options)
    with Image.open(tmp_path / "x.webp") as image:
        assert image.mode == "RGB"
        image.load()
        for given in (tmp_path / "x.webp", image):
            shown = np.asarray(to_rgb(given)).astype(int)
            assert np.abs(shown[8:32, 16:40] - (200, 20, 30)).max() < 20
            assert (shown[:8] == 255).all() and (shown[:, 40:] == 255).all()


def test_a_gif_whose_first_frame_is_smaller_is_placed_on_white(tmp_path):
    frame = Image.new("P", (24, 24), 1)
    frame.putpalette([0, 0, 0, 200, 20, 30])
    frame.save(tmp_path / "x.gif")
    data = bytearray((tmp_path / "x.gif").read_bytes())
    place = data.index(b"," + struct.pack("<4H", 0, 0, 24, 24)) + 1
    data[place : place + 4], data[6:10] = struct.pack("<2H", 16, 8), struct.pack("<2H", 64, 48)
    (tmp_path / "x.gif").write_bytes(data)
    with Image.open(tmp_path / "x.gif") as image:
        image.load()
        for given in (tmp_path / "x.gif", image):
            shown = np.asarray(to_rgb(given))
            assert (shown[8:32, 16:40] == (200, 20, 30)).all()
            assert (shown[:8] == 255).all() and (shown[:, 40:] == 255).all() and (shown[32:] == 255).all()


def png_of_greys(values, bits, transparent):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b""
    for row in values:
        if bits == 16:
            packed = row.astype(">u2").tobytes()
        else:
            each = 8 // bits
            packed = bytes(sum(int(v) << (8 - bits * (k + 1)) for k, v in enumerate(part)) for part in row.reshape(-1, each))
        lines += b"\0" + packed
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"tRNS", struct.pack(">H", transparent))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def test_arrays_with_alpha_are_placed_on_white(glyph):
    array = np.asarray(black_on_nothing(glyph))
    assert_shows(array, seen(glyph))
    assert_shows(np.stack([array, array])[1], seen(glyph))


def test_a_model_gets_what_a_viewer_displays(tiny_clip, tmp_path, glyph):
    model = MGCLIP.from_pretrained(tiny_clip)
    black_on_nothing(glyph).save(tmp_path / "x.png")
    on_white = Image.fromarray(seen(glyph).astype(np.uint8))
    images = [tmp_path / "x.png", np.asarray(black_on_nothing(glyph)), on_white]
    of_file, of_array, wanted = model.encoder.pixels(images).batch(torch.arange(3))
    assert (of_file == wanted).all() and (of_array == wanted).all()


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


def test_sixteen_bits_are_read_in_either_byte_order(tmp_path):
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
