"""Small versions of images: upright, on white, and of the file as it is now."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mgclip.report.thumbnails import SIDE, thumbnail


def shown(uri):
    kind, _, data = uri.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def test_a_phone_photograph_is_upright(tmp_path):
    sideways = Image.new("RGB", (4000, 3000), "blue")
    sideways.paste("red", (0, 0, 2000, 3000))
    exif = sideways.getexif()
    exif[274] = 6  # to be turned clockwise: what is left in the file is shown at the top
    sideways.save(tmp_path / "phone.jpg", exif=exif)
    small = shown(thumbnail(tmp_path / "phone.jpg"))
    assert small.size == (SIDE * 3 // 4, SIDE)
    top, bottom = np.asarray(small)[10, 40], np.asarray(small)[-10, 40]
    assert top[0] > 200 > 50 > top[2]
    assert bottom[2] > 200 > 50 > bottom[0]


def test_transparent_and_deep_images_look_as_in_a_viewer(tmp_path):
    Image.new("RGBA", (300, 300), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((300, 300), 32896, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert np.asarray(shown(thumbnail(tmp_path / "clear.png"))).min() == 255
    assert np.asarray(shown(thumbnail(tmp_path / "deep.png"))).mean() == pytest.approx(128, abs=2)


def test_a_changed_file_has_another_thumbnail_and_a_bad_one_has_none(tmp_path):
    file = tmp_path / "x.png"
    Image.new("RGB", (300, 200), "red").save(file)
    red = thumbnail(file)
    Image.new("RGB", (300, 201), "blue").save(file)
    assert thumbnail(file) != red
    file.write_bytes(b"damaged")
    assert thumbnail(file) is None
    assert thumbnail(tmp_path / "missing.png") is None
