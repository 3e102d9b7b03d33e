"""What a browser says that was dropped is checked, and a path of an upload is not shown."""

import errno
import json

import pytest

pytest.importorskip("gradio", reason="Gradio is not installed: extra studio")

from mgclip.app.studio.drop import Limits, errors_with_places, places_of, safely, uploads, with_places, without_upload_folder
from mgclip.app.studio.teach import by_class
from mgclip.errors import InputError, MGCLIPError
from mgclip.images import UnreadableImage

LIMITS = Limits(megabytes=2, images=3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    for name in ("a.png", "b.png"):
        (tmp_path / "uploads" / "123").mkdir(parents=True, exist_ok=True)
        (tmp_path / "uploads" / "123" / name).write_bytes(b"x")
    return tmp_path / "uploads" / "123"


def value(*entries):
    return json.dumps([{"path": str(path), "group": group} for path, group in entries])


def test_uploads_are_read_with_their_classes(folder):
    found = uploads(value((folder / "a.png", " hat "), (folder / "b.png", "hat"), (folder / "a.png", "coat")), LIMITS)
    assert by_class(found) == {"hat": [folder / "a.png", folder / "b.png"], "coat": [folder / "a.png"]}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, "There is no image"),
        ("[]", "There is no image"),
        ("uploading", "still being uploaded"),
        ("{", "The list of images is damaged"),
        ('["a"]', "The list of images is damaged"),
        ("[" * 100_000, "The list of images is damaged"),
        ('{"path": "a"}', "The list of images is damaged"),
        (value(*[("a", "")] * 4), "At most 3 images at a time; found 4: drop fewer."),
        (value(("/etc/passwd", "")), "passwd is not among the uploads of this studio: drop it again."),
        (value(("x" * 10_000, "")), "drop it again"),
        (value(("a\0b", "")), "drop it again"),
    ],
)
def test_what_is_no_upload_is_refused_in_one_sentence(folder, given, sentence):
    with pytest.raises(InputError, match=sentence):
        uploads(given, LIMITS)


def test_a_path_out_of_the_folder_and_a_link_are_refused(folder):
    (folder.parents[1] / "secret.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(folder.parents[1] / "secret.png")
    for path in (folder / ".." / ".." / "secret.png", folder / "link.png"):
        with pytest.raises(InputError, match="is not among the uploads of this studio"):
            uploads(value((path, "")), LIMITS)


def test_a_deleted_upload_says_so(folder):
    (folder / "a.png").unlink()
    with pytest.raises(InputError, match=r"a\.png was deleted a while after its upload: drop it again"):
        uploads(value((folder / "a.png", "")), LIMITS)
    entry = {"path": str(folder / "a.png"), "place": "june/a.png"}
    with pytest.raises(InputError, match=r"^june/a\.png was deleted a while"):
        uploads(json.dumps([entry]), LIMITS)


def test_sentences_and_errors_name_an_upload_by_its_place(folder):
    places = {folder / "a.p": ["a.p"], folder / "a.png": ["june/a.png", "july/a.png"]}
    assert with_places(f"{folder / 'a.png'} and {folder / 'b.png'}", places) == "june/a.png, july/a.png and b.png"
    with (
        pytest.raises(MGCLIPError, match=r"^The image june/a\.png, july/a\.png cannot be read \(damaged\): "),
        errors_with_places(places),
    ):
        raise UnreadableImage(folder / "a.png", "damaged")


def test_errors_become_a_message_without_the_path_of_the_upload(folder):
    def fail(name):
        raise InputError(f"The image {folder / 'a.png'} cannot be read, <b>{name}</b>.")

    left, shown = safely(fail, "left")("x")
    assert left == "left"
    assert "The image a.png cannot be read, &lt;b&gt;x&lt;/b&gt;." in shown
    assert without_upload_folder(f"{folder / 'a.png'} and {folder / 'b.png'}") == "a.png and b.png"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "full", "shop"),
            "There is no space left on the disk at shop: existing files are unchanged; free some space and do the same again.",
        ),
        (KeyError("x"), "unexpected KeyError: &#39;x&#39; (the terminal shows the traceback)"),
    ],
)
def test_a_fault_of_the_machine_and_a_bug_are_a_sentence_on_the_page(capsys, error, sentence):
    def fail():
        raise error

    left, shown = safely(fail, "left")()
    assert left == "left"
    assert sentence in shown
    assert "Traceback" in capsys.readouterr().err


def test_images_without_a_class_are_counted(folder):
    with pytest.raises(InputError, match="1 image without a class: fill in the name of the class"):
        by_class(uploads(value((folder / "a.png", " "), (folder / "b.png", "hat")), LIMITS))


def test_an_image_that_is_dropped_twice_counts_once(folder):
    found = uploads(value(*[(folder / name, "") for name in ("a.png", "b.png", "a.png")]), LIMITS)
    assert places_of(found) == {folder / "a.png": ["a.png"], folder / "b.png": ["b.png"]}


def test_each_place_of_an_uploaded_file_is_kept(folder):
    entries = [{"path": str(folder / "a.png"), "group": "", "place": f"march/{name}/a.png"} for name in ("car", "bus", "car")]
    assert places_of(uploads(json.dumps(entries), LIMITS)) == {folder / "a.png": ["march/car/a.png", "march/bus/a.png"]}
