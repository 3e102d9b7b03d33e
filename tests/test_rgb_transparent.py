"""Transparent images of every kind are placed on white, as a viewer displays them."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from test_rgb import assert_shows

from mgclip import MGCLIP
from mgclip.errors import InputError
from mgclip.images import open_image, to_rgb

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
