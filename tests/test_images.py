"""Image files of every mode and format are read correctly, or refused by name."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mgclip import image_formats
from mgclip.errors import InputError
from mgclip.images import find_unreadable_images, open_image, thread_count, to_rgb
from mgclip.stream import walk
from mgclip.stream.files import is_image_name
from mgclip.workflows.source import read_source


@pytest.fixture
def picture():
    """A smooth gradient with a bright square."""
    y, x = np.mgrid[0:48, 0:64]
    grey = (y * 2 + x).astype(np.uint8)
    grey[10:30, 20:40] = 230
    return grey


def difference(file, picture):
    return np.abs(np.asarray(open_image(file)).astype(int) - picture[..., None]).max()


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.bmp", "x.tif", "x.gif", "x.tga", "x.ppm"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_every_format_is_read_in_every_mode(tmp_path, picture, name, mode):
    if mode == "P" and name in ("x.jpg", "x.webp", "x.ppm", "x.tga"):
        pytest.skip("the format has no palette here")
    Image.fromarray(picture).convert(mode).save(tmp_path / name)
    assert difference(tmp_path / name, picture) <= (40 if name in ("x.jpg", "x.webp") else 8)


def test_a_path_may_begin_in_the_home_folder(tmp_path, monkeypatch, picture):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.fromarray(picture).save(tmp_path / "x.png")
    for file in ("~/x.png", Path("~/x.png")):
        assert difference(file, picture) == 0
    with pytest.raises(InputError, match=r"There is no image file ~/y\.png\."):
        open_image("~/y.png")


@pytest.mark.parametrize("form", [str, Path])  # a path keeps one of the two slashes
def test_an_address_is_not_an_image_file(form):
    with pytest.raises(InputError, match=r"^https://shop\.example/a\.png is an address, not an image file: download the image"):
        open_image(form("https://shop.example/a.png"))
    with pytest.raises(InputError, match=r"^file:///shop/a\.png is an address"):
        open_image(form("file:///shop/a.png"))


def test_a_folder_is_not_an_image(tmp_path):
    with pytest.raises(InputError, match=r"\(it is a folder\): give another file or leave it out\.$"):
        open_image(tmp_path)


def test_a_path_that_leads_nowhere_is_an_unreadable_image_and_no_failure_of_the_machine(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    paths = [tmp_path / "a.png" / "b.png", tmp_path / "loop.png", tmp_path / ("x" * 5000), tmp_path / "a.png"]
    found = find_unreadable_images(paths)
    assert list(found) == [0, 1, 2]
    assert not any("[Errno" in reason for reason in found.values())
    with pytest.raises(InputError, match=r"The image .*loop\.png cannot be read \(Too many levels of symbolic links\): give"):
        open_image(tmp_path / "loop.png")


def test_sixteen_bits_are_scaled_not_truncated(tmp_path, picture):
    for name in ("x.png", "x.tif"):
        Image.fromarray(picture.astype(np.uint16) << 8).save(tmp_path / name)
        assert difference(tmp_path / name, picture) <= 1


def test_cmyk_and_a_wrong_extension_are_read(tmp_path, picture):
    Image.fromarray(picture).convert("RGB").convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    assert difference(tmp_path / "x.jpg", picture) <= 40
    (tmp_path / "x.jpg").rename(tmp_path / "really-a-jpeg.png")
    assert difference(tmp_path / "really-a-jpeg.png", picture) <= 40


def test_the_first_frame_of_an_animation_is_read(tmp_path, picture):
    first = Image.fromarray(picture)
    first.save(tmp_path / "x.gif", save_all=True, append_images=[Image.new("L", first.size, 255)])
    assert difference(tmp_path / "x.gif", picture) <= 8


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"<svg></svg>", lambda b: b[:30]])
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.tif", "x.gif"])
def test_damaged_files_are_refused_by_name(tmp_path, picture, name, damage):
    Image.fromarray(picture).save(tmp_path / name)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(InputError, match=rf"The image .*{name} cannot be read"):
        open_image(tmp_path / name)


@pytest.mark.parametrize(
    ("brands", "sentence"),
    [
        (b"heic\0\0\0\0mif1heic", "it is a HEIC image: run `pip install 'mg-clip[heic]'` to read it, or save it as JPEG"),
        (b"avif\0\0\0\0avifmif1", "it is an AVIF image: run `pip install pillow-avif-plugin` to read it, or save it as JPEG"),
        (b"isom\0\0\0\0isomiso2", "not an image in a supported format"),
    ],
)
def test_an_image_that_needs_a_plugin_names_it(tmp_path, monkeypatch, brands, sentence):
    monkeypatch.setattr(image_formats, "formats", lambda: ("JPEG", "PNG"))  # a Pillow without AVIF and without plugins
    (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftyp" + brands + bytes(100))
    with pytest.raises(InputError) as error:
        open_image(tmp_path / "phone.jpg")
    assert str(error.value) == (
        f"The image {tmp_path / 'phone.jpg'} cannot be read ({sentence}): give another file or leave it out."
    )


def test_class_folders_of_phone_images_name_the_plugin_too(tmp_path, monkeypatch, picture):
    monkeypatch.setattr(walk, "file_extensions", lambda: frozenset((".jpg", ".png")))
    monkeypatch.setattr(image_formats, "formats", lambda: ("JPEG", "PNG"))
    for name in ("hat/a.png", "hat/b.HEIC", "hat/notes.txt", "coat/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "x.png")
        (tmp_path / "x.png").rename(tmp_path / name)
    (note,) = read_source(tmp_path).notes
    assert note.endswith("(.heic 1, .txt 1): run `pip install 'mg-clip[heic]'` to read HEIC images")
    (tmp_path / "coat" / "c.png").rename(tmp_path / "coat" / "c.heif")
    with pytest.raises(
        InputError, match=r"no image in a supported format; run `pip install 'mg-clip\[heic\]'` to read HEIC images"
    ):
        read_source(tmp_path)


def test_avif_is_read_if_pillow_reads_it(tmp_path, picture):
    if "AVIF" not in image_formats.formats():
        pytest.skip("this Pillow reads no AVIF")
    Image.fromarray(picture).save(tmp_path / "x.avif", quality=95)
    assert difference(tmp_path / "x.avif", picture) <= 40
    assert is_image_name("x.AVIF")


def test_heic_is_read_if_the_plugin_is_installed(tmp_path, picture):
    plugin = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    plugin.from_pillow(Image.fromarray(picture).convert("RGB")).save(tmp_path / "x.heic", quality=95)
    assert difference(tmp_path / "x.heic", picture) <= 40
    assert is_image_name("x.HEIC")


def test_files_of_two_pictures_from_a_camera_are_images(tmp_path, picture):
    first = Image.fromarray(picture).convert("RGB")
    first.save(tmp_path / "x.mpo", save_all=True, append_images=[Image.new("RGB", first.size, "white")])
    assert is_image_name("x.mpo") and is_image_name("x.MPO")
    assert difference(tmp_path / "x.mpo", picture) <= 40


def test_the_number_of_threads_is_that_of_the_cores_or_as_set(monkeypatch):
    monkeypatch.delenv("MGCLIP_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert thread_count() == 3
    monkeypatch.setenv("MGCLIP_THREADS", "11")
    assert thread_count() == 11
    for wrong in ("0", "-1", "many", "1.5"):
        monkeypatch.setenv("MGCLIP_THREADS", wrong)
        with pytest.raises(InputError, match="MGCLIP_THREADS must be a whole number of at least 1"):
            thread_count()


@pytest.mark.parametrize(
    ("size", "sentence"),
    [((12000, 11000), "are more than"), ((18000, 10000), "it has more than 120,000,000 pixels"), ((400, 0), "cannot be read")],
)
def test_images_that_would_fill_the_memory_are_refused(tmp_path, size, sentence):
    from mgclip.images import open_image

    file = tmp_path / "x.png"
    if size[1]:
        Image.new("1", size).save(file)
        assert file.stat().st_size < 1 << 20
    else:
        file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(InputError, match=sentence):
        open_image(file)


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from mgclip.images import to_rgb

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 80 * 2**20, used + 80 * 2**20))
try:
    to_rgb(sys.argv[1])
except MemoryError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the addresses of a process")
@pytest.mark.parametrize(("name", "options"), [("x.webp", {}), ("x.jpg", {"progressive": True})])
def test_an_image_that_cannot_be_decoded_because_memory_runs_out_is_not_damaged(tmp_path, name, options):
    Image.new("RGB", (4000, 4000)).save(tmp_path / name, **options)
    start = [sys.executable, "-c", LITTLE_MEMORY, str(tmp_path / name)]  # a forked process would have free memory
    done = subprocess.run(start, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    if done.stdout.strip():  # some versions of Pillow raise MemoryError themselves, without a message
        assert done.stdout.startswith(f"The image {tmp_path / name} cannot be decoded (")
        assert done.stdout.endswith(") while less than 1 GiB of memory can be allocated\n")
    else:
        assert done.stdout == "\n"


def test_an_image_that_is_given_twice_is_decoded_by_one_thread_at_a_time(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.png", compress_level=1)
    for _ in range(3):
        with Image.open(tmp_path / "x.png") as image:  # not decoded yet
            again = [image] * 4
            with ThreadPoolExecutor(4) as threads:
                assert all(np.array_equal(opened, noise) for opened in threads.map(to_rgb, again))


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.bmp"])
def test_an_image_whose_file_was_closed_is_named_as_one(tmp_path, picture, name):
    sentence = r"^An image cannot be used: its file was closed before it was read; give its path\.$"
    Image.fromarray(picture).save(tmp_path / name)
    with Image.open(tmp_path / name) as left:
        pass
    with (tmp_path / name).open("rb") as file:
        closed = Image.open(file)
    for image in (left, closed):
        with pytest.raises(InputError, match=sentence):
            to_rgb(image)
