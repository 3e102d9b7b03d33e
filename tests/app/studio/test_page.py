"""The studio in a real browser: predict, learn, undo, and the attempts of a hostile visitor."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image
from studio_server import studio

from mgclip import MGCLIP, Settings, history
from mgclip.method.baselines.table import ANALYTIC

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: extra dev")
pytest.importorskip("gradio", reason="Gradio is not installed: extra studio")
CHROMIUM = os.environ.get("MGCLIP_CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: install it or set MGCLIP_CHROMIUM")
HOSTILE = "<img src=x onerror=alert(1)> 🦓 שלום"
WAIT = 60_000


@pytest.fixture(scope="module")
def place(icons, tmp_path_factory):
    """A model that knows two classes, one with a hostile name; and images of a third that it does not know yet."""
    folder = tmp_path_factory.mktemp("studio")
    model = MGCLIP.from_pretrained("iconclip", settings=Settings(**ANALYTIC, features=256))
    names = [HOSTILE, str(icons["class_names"][1])]
    picked = np.isin(icons["y_train"], [0, 1])
    model.learn(icons["x_train"][picked], icons["y_train"][picked], names)
    model.save_pretrained(folder / "shop", note={"what": "learned 2 classes", "classes": names})
    for c in (0, 2):
        for i in range(8):
            Image.fromarray(icons["x_train"][12 * c + i]).save(folder / f"class{c}-{i}.png")
    (folder / "not-an-image.png").write_bytes(b"GIF89a<script>alert(2)</script>")
    (folder / "too-large.png").write_bytes(os.urandom(3 << 20))
    return folder


@pytest.fixture(scope="module")
def address(place):
    with studio(place, "--max-mb", "2", "--max-images", "10") as address:
        yield address


@pytest.fixture
def page(address):
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.problems, page.outside = [], []
        page.on("console", lambda line: page.problems.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("dialog", lambda dialog: (page.problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else page.outside.append(r.url))
        page.goto(address)
        page.locator("#known textarea").wait_for(timeout=WAIT)
        yield page
        browser.close()


def shows(page, box, text):
    playwright.expect(page.locator(f"#{box} textarea")).to_have_value(text, timeout=WAIT)


def upload(page, box, files):
    page.locator(f"#{box} input[type=file]").set_input_files(files)
    playwright.expect(page.locator(f"#{box}")).to_contain_text(files[-1].name[:8], timeout=WAIT)


def answers(page):
    return [cell.inner_text() for cell in page.locator("#answers tbody td").all()]


def keep(page, place, name):
    if os.environ.get("MGCLIP_SHOTS"):
        page.screenshot(path=f"{os.environ['MGCLIP_SHOTS']}/studio-{name}.png", full_page=True)


def test_predict_learn_and_go_back(page, place):
    import re

    shows(page, "known", re.compile("^2: "))
    assert HOSTILE in page.locator("#known textarea").input_value()
    files = [place / f"class2-{i}.png" for i in range(2)]
    upload(page, "predict-images", [*files, place / "class0-0.png"])
    page.locator("#predict-button").click()
    shows(page, "predict-message", "3 images classified")
    playwright.expect(page.locator("#answers")).to_contain_text(HOSTILE)  # as text
    keep(page, place, "predict")
    before = page.locator("#answers").inner_text()
    assert "new thing" not in before

    page.get_by_role("tab", name="Learn").click()
    page.locator("#class-name input, #class-name textarea").first.fill("new thing")
    upload(page, "learn-images", [place / f"class2-{i}.png" for i in range(2, 8)])
    page.locator("#learn-button").click()
    shows(page, "learn-message", re.compile("learned 1 class from 6 images"))
    shows(page, "known", re.compile("^3: .*new thing"))
    keep(page, place, "learn")

    page.get_by_role("tab", name="Predict").click()
    page.locator("#predict-button").click()
    playwright.expect(page.locator("#answers")).to_contain_text("new thing", timeout=WAIT)
    assert MGCLIP.from_pretrained(place / "shop").predict(files).names == ["new thing", "new thing"]

    page.get_by_role("tab", name="Versions").click()
    playwright.expect(page.locator("#versions")).to_contain_text("learned 1 class: new thing")
    keep(page, place, "versions")
    page.locator("#undo-button").click()
    shows(page, "undo-message", "version 1 is active")
    shows(page, "known", re.compile("^2: "))

    page.get_by_role("tab", name="Gap").click()
    upload(page, "gap-images", [place / f"class0-{i}.png" for i in range(5)])
    page.locator("#gap-button").click()
    shows(page, "gap-message", "5 images, 2 class texts")
    page.locator("#gap-picture img").wait_for(timeout=WAIT)
    keep(page, place, "gap")
    assert page.problems == []
    assert page.outside == []


def choose(page, box, text):
    page.locator(f"#{box} input").click()
    page.get_by_role("option", name=text, exact=True).click()


def test_an_answer_is_corrected(page, place):
    import re

    versions = len(history(place / "shop"))
    files = [place / f"class2-{i}.png" for i in range(2)]
    page.locator("#correct-button").click()
    shows(page, "correct-message", "Choose an image and its class first.")
    upload(page, "predict-images", files)
    page.locator("#predict-button").click()
    shows(page, "predict-message", "2 images classified")
    right = MGCLIP.from_pretrained(place / "shop").class_names[1]
    choose(page, "correct-image", "2: class2-1.png")
    choose(page, "correct-class", right)
    page.locator("#correct-button").click()
    shows(page, "correct-message", re.compile("1 image added that was not learned before"))
    keep(page, place, "correct")
    assert len(history(place / "shop")) == versions + 1
    model = MGCLIP.from_pretrained(place / "shop")
    assert model.learned_as(files) == [(), (right,)]
    choose(page, "correct-class", HOSTILE)
    page.locator("#correct-button").click()
    shows(page, "correct-message", f"1 image moved from {right}")
    assert MGCLIP.from_pretrained(place / "shop").learned_as(files) == [(), (HOSTILE,)]
    page.get_by_role("tab", name="Versions").click()
    page.locator("#undo-button").click()
    page.locator("#to-version input").fill(str(versions))
    page.locator("#undo-button").click()
    assert page.problems == []


def test_wrong_input_is_reported_and_changes_nothing(page, place):
    import re

    versions, outside = len(history(place / "shop")), sorted(place.iterdir())
    page.locator("#predict-button").click()
    shows(page, "predict-message", "There is no image: drop some first.")
    upload(page, "predict-images", [place / "class0-0.png", place / "not-an-image.png"])
    page.locator("#predict-button").click()
    shows(page, "predict-message", "not-an-image.png cannot be read as an image")
    page.get_by_role("tab", name="Learn").click()
    for name, files, sentence in (
        ("", [place / "class2-0.png"], "A class needs a name of 1 to 200 characters"),
        (HOSTILE, [place / "class0-0.png"], "There is no new image"),
        ("../../evil", [place / "not-an-image.png"], "cannot be read"),
    ):
        page.locator("#class-name input, #class-name textarea").first.fill(name)
        if files:
            if page.locator("#learn-images button[aria-label='Clear'], #learn-images button[aria-label='Remove file']").count():
                page.locator(
                    "#learn-images button[aria-label='Clear'], #learn-images button[aria-label='Remove file']"
                ).first.click()
            upload(page, "learn-images", files)
        page.locator("#learn-button").click()
        shows(page, "learn-message", re.compile(re.escape(sentence)))
    assert "/" not in page.locator("#learn-message textarea").input_value()
    keep(page, place, "refused")
    assert len(history(place / "shop")) == versions
    assert sorted(place.iterdir()) == outside
    assert not [problem for problem in page.problems if "dialog" in problem]
