"""The studio under hostile uploads, without a browser: too large, not images, names that are paths, fifty at once."""

import json
import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from studio_server import studio

from mgclip import MGCLIP, Settings, history

pytest.importorskip("gradio", reason="Gradio is not installed: extra studio")
NAMES = [
    "../../../../evil.png", "/etc/cron.d/evil.png", "..\\..\\evil.png", "C:\\evil.png", "evil\x00.png", "a/../../evil.png",
    "<script>alert(1)<.png", "\u202egnp.exe", "-rf.png", "con.png", "x" * 300 + ".png", ".bashrc", "~/.bashrc", "%2e%2e%2fevil.png",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(icons, tiny_clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    model = MGCLIP.from_pretrained(tiny_clip, settings=Settings(epochs=0, head_epochs=0))
    picked = np.isin(icons["y_train"], [0, 1])
    model.learn(icons["x_train"][picked], icons["y_train"][picked], ["first", "second"])
    model.save_pretrained(folder / "shop", note={"what": "learned"})
    Image.fromarray(icons["x_train"][0]).save(folder / "good.png")
    Image.new("L", (11_000, 11_000)).save(folder / "wide.png")  # 121 million pixels in a few thousand bytes
    return folder


@pytest.fixture(scope="module")
def address(place):
    with studio(place, "shop", "--max-mb", "2", "--max-images", "10") as address:
        yield address


def files_of(place):
    """Every file except uploads, the log and locks."""
    kept = (file for file in place.rglob("*") if file.is_file() and "lock" not in file.name)
    return {str(f): f.read_bytes() for f in kept if f.name != "log" and not f.is_relative_to(place / "uploads")}


def upload(address, name, content):
    return requests.post(f"{address}gradio_api/upload", files={"files": (name, content)}, timeout=60)


def call(address, function, data):
    """Call a function of the page as its script does; returns its last event and data, or the status and text of an error."""
    started = requests.post(f"{address}gradio_api/call/{function}", json={"data": data}, timeout=60)
    if started.status_code != 200:
        return started.status_code, started.text
    output = requests.get(f"{address}gradio_api/call/{function}/{started.json()['event_id']}", timeout=120).text
    return re.findall(r"^event: (\w+)", output, re.MULTILINE)[-1], re.findall(r"^data: (.*)", output, re.MULTILINE)[-1]


def dropped(*paths, group=""):
    """The value of a drop zone."""
    return json.dumps([{"path": str(path), "group": group} for path in paths])


def test_names_that_are_paths_stay_in_the_folder_of_uploads(place, address):
    before, content = files_of(place), (place / "good.png").read_bytes()
    taken = [answer for answer in (upload(address, name, content) for name in NAMES) if answer.status_code == 200]
    assert len(taken) >= len(NAMES) // 2
    for answer in taken:
        for path in answer.json():
            assert Path(path).resolve().is_relative_to((place / "uploads").resolve())
    assert files_of(place) == before
    assert not Path("/etc/cron.d/evil.png").exists()


def test_uploads_that_are_too_large_are_refused(place, address):
    answer = upload(address, "large.png", os.urandom(3 << 20))
    assert answer.status_code == 413
    kept = sum(file.stat().st_size for file in (place / "uploads").rglob("*") if file.is_file())
    assert kept < 2 << 20


def test_fifty_uploads_and_requests_at_once(place, address):
    before, good = files_of(place), (place / "good.png").read_bytes()
    bad = [b"", b"<html>", good[:100], os.urandom(10_000), (place / "wide.png").read_bytes()]

    def visit(number):
        name, content = f"{number}.png", bad[number % len(bad)] if number % 2 else good
        answer = upload(address, name, content)
        if answer.status_code != 200:
            return answer.status_code, answer.text
        return call(address, "ask", [dropped(answer.json()[0]), "", 0.0])

    with ThreadPoolExecutor(50) as crowd:
        answers = list(crowd.map(visit, range(50)))
    good_ones = [json.loads(text) for event, text in answers[::2] if event == "complete"]
    assert good_ones
    assert all("1 answer of version 1" in answers and not message for answers, message in good_ones)
    refused = [text for event, text in answers[1::2] if event == "complete"]
    assert refused
    assert all("cannot be read (" in text for text in refused)
    print(Counter(event for event, _ in answers))
    for event, text in answers:  # the others found the queue full
        assert event == "complete" or "queue" in str(text).lower() or event in (429, 503), (event, text)
    assert requests.get(address).status_code == 200
    assert files_of(place) == before
    assert "Traceback" not in (place / "log").read_text()


def test_more_images_than_the_limit_are_refused(place, address):
    sent = [upload(address, f"{n}.png", (place / "good.png").read_bytes()).json()[0] for n in range(11)]
    for function, data in (
        ("ask", [dropped(*sent), "", 0.0]),
        ("plan", [dropped(*sent, group="third")]),
        ("teach", [dropped(*sent, group="third")]),
        ("draw", [dropped(*sent)]),
    ):
        event, output = call(address, function, data)
        assert event == "complete"
        assert "At most 10 images at a time; found 11: drop fewer." in output
    assert len(history(place / "shop")) == 1


def test_an_error_about_an_image_names_the_folder_it_was_dropped_with(address):
    (path,) = upload(address, "bad.png", b"<html>").json()
    value = json.dumps([{"path": path, "group": "", "place": "june/hat/bad.png"}])
    assert "The image june/hat/bad.png cannot be read (not an image in a supported format)" in call(address, "draw", [value])[1]


@pytest.mark.parametrize("path", ["/etc/passwd", "shop/mgclip.json", "../../etc/passwd", "good.png", "x\0.png", "x" * 5000])
def test_files_of_the_machine_are_not_uploads(place, address, path):
    for given in (path, str(place / path), str(place / "uploads" / ".." / path)):
        for function, data in (("ask", [dropped(given), "", 0.0]), ("teach", [dropped(given, group="third")])):
            event, output = call(address, function, data)
            assert event == "complete"
            assert "drop it again" in output or "drop them again" in output
            assert "root:" not in output
    assert requests.get(f"{address}gradio_api/file={path[:200]}").status_code in (400, 403, 404)
    assert len(history(place / "shop")) == 1


def test_a_call_without_a_form_is_an_empty_form(place, address):
    for function, sentence in (("edit", "Expected rename, unite or forget; found"), ("go", "A version has a number; found")):
        assert sentence in call(address, function, [])[1]
    sent = upload(address, "good.png", (place / "good.png").read_bytes()).json()
    assert (
        "There is no correction: give the right class of an image first." in call(address, "correct", [dropped(*sent), "", 0])[1]
    )
    assert "Traceback" not in (place / "log").read_text()


def test_values_of_the_wrong_kind_are_errors_and_change_nothing(place, address):
    before = files_of(place)
    for function, data in (
        ("ask", []),
        ("ask", [None, None, "x"]),
        ("ask", [[1, 2], {"a": 1}, -5]),
        ("ask", ["[" * 10_000, "", 0.0]),
        ("plan", [5]),
        ("teach", ["[1, null, {}]"]),
        ("teach", [None]),
        ("correct", ["[]", "", 0.0]),
        ("edit", []),
        ("go", []),
        ("refresh", [1, 2, 3]),
        ("draw", [{}]),
        ("no_such_function", []),
    ):
        event, output = call(address, function, data)
        assert event in ("error", "complete") or event >= 400
        assert "Traceback" not in output and 'File "/' not in output
    assert requests.get(address).status_code == 200
    assert files_of(place) == before
