"""The studio in a real browser, on a phone, a tablet and a wide screen: every job, and the attempts of a hostile visitor."""

import io
import os
import shutil
import urllib.parse

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from studio_server import studio

from mgclip import MGCLIP, Settings, history
from mgclip.method.baselines.table import ANALYTIC

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: extra dev")
pytest.importorskip("gradio", reason="Gradio is not installed: extra studio")
CHROMIUM = os.environ.get("MGCLIP_CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: install it or set MGCLIP_CHROMIUM")
HOSTILE = "<img src=x onerror=alert(1)> ${alert(2)} {{this}} 🦓 שלום"
LONG = "a-class-with-a-name-that-never-ends-" * 4
WIDTHS = {360: 740, 820: 1180, 1920: 1080}
TABS = ("Ask", "Teach", "Classes", "Versions", "Gap")
WAIT = 60_000
OUTSIDE = """
() => {
  const width = document.documentElement.clientWidth;
  const shown = [...document.body.querySelectorAll("*")].filter(each => each.checkVisibility({checkVisibilityCSS: true}));
  const far = shown.filter(each => {
    const box = each.getBoundingClientRect();
    return box.width > 1 && box.height > 1 && (box.right > width + 0.5 || box.left < -0.5);
  });
  const name = each => `${each.tagName} ${each.id} ${each.getAttribute("class")} ${each.textContent.slice(0, 40)}`;
  return [document.documentElement.scrollWidth - width, far.map(name)];
}
"""


@pytest.fixture(scope="module")
def place(icons, tmp_path_factory):
    """A model of three classes, one with a hostile and one with a long name, which holds out images of the first class; and
    folders with images of that class and of two new ones."""
    folder = tmp_path_factory.mktemp("studio")
    for c, name in ((0, "first"), (5, "hat"), (6, "coat")):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(8):
            Image.fromarray(icons["x_train"][12 * c + i]).save(folder / "photos" / name / f"{name}-{i}.png")
    (folder / "photos" / "hat" / "notes.txt").write_text("no image")
    for i in range(8):
        Image.fromarray(icons["x_train"][12 * 2 + i]).save(folder / f"loose-{i}.png")
    (folder / "not-an-image.png").write_bytes(b"GIF89a<script>alert(3)</script>")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (folder / "too-large.png").write_bytes(os.urandom(3 << 20))
    return folder


@pytest.fixture(scope="module")
def address(place, icons):
    model = MGCLIP.from_pretrained("iconclip", settings=Settings(**ANALYTIC, features=256))
    names = [HOSTILE, str(icons["class_names"][1]), LONG]
    picked = np.isin(icons["y_train"], [0, 1, 3])
    labels = np.searchsorted([0, 1, 3], icons["y_train"][picked])
    model.learn(icons["x_train"][picked], labels, names)
    held_out = {HOSTILE: [str(place / "photos" / "first" / f"first-{i}.png") for i in range(3)]}
    model.save_pretrained(place / "shop", note={"what": "learned 3 classes", "classes": names}, files={"held-out.json": held_out})
    with studio(place, "--max-mb", "2", "--max-images", "30") as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(address, browser):
    """Open the page at a width; it must neither fetch anything from elsewhere nor report an error."""
    pages = []

    def go(width=1920, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": WIDTHS[width]}, color_scheme=scheme)
        pages.append(page)
        page.problems, page.outside, page.name = [], [], f"{scheme}-{width}"
        page.on("console", lambda line: page.problems.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("dialog", lambda dialog: (page.problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else page.outside.append(r.url))
        page.goto(address)
        shows(page, "about", "3 classes")
        return page

    yield go
    for page in pages:
        assert page.problems == []
        assert page.outside == []
        page.close()


def shows(page, area, text):
    playwright.expect(page.locator(f"#{area}")).to_contain_text(text, timeout=WAIT)


def choose(page, area, files, *, folder=False):
    page.locator(f"#{area} input[{'webkitdirectory' if folder else 'multiple'}]").set_input_files(files)
    playwright.expect(page.locator(f"#{area} .drop.busy")).to_have_count(0, timeout=WAIT)


def open_tab(page, name):
    tab = page.get_by_role("tab", name=name, exact=True)
    tab.scroll_into_view_if_needed()
    playwright.expect(tab).to_be_in_viewport(ratio=1)
    tab.click()


def fits(page, what):
    """Check that nothing is wider than the screen, and keep a picture if asked for."""
    if os.environ.get("MGCLIP_SHOTS"):
        page.screenshot(path=f"{os.environ['MGCLIP_SHOTS']}/studio-{page.name}-{what}.png", full_page=True)
    assert page.evaluate(OUTSIDE) == [0, []], what


def versions(place):
    return [(version.number, version.active) for version in history(place / "shop")]


def back_to_the_first(page):
    open_tab(page, "Versions")
    page.get_by_role("button", name="Go to version 1", exact=True).click()
    shows(page, "versions-message", "Version 1 is active.")
    shows(page, "about", "3 classes")


@pytest.mark.parametrize("width", WIDTHS)
def test_every_job_can_be_done_and_nothing_overflows(visit, place, width):
    page = visit(width)
    for name in TABS:
        open_tab(page, name)
        fits(page, f"empty-{name}")
    shows(page, "about", "shop")
    shows(page, "about", "CLIP iconclip")

    open_tab(page, "Ask")
    loose = [place / f"loose-{i}.png" for i in range(2)]
    choose(page, "ask-images", [*loose, place / "photos" / "first" / "first-4.png"])
    shows(page, "answers", "3 answers of version 1")
    card = page.locator("#answers .card").nth(2)
    playwright.expect(card.locator(".class")).to_have_text(HOSTILE)
    best = card.locator(".bars li").first
    assert best.locator(".number").inner_text() == card.locator(".confidence").inner_text()
    assert card.locator("img").evaluate("image => image.naturalWidth") > 10
    page.mouse.wheel(0, 600)
    playwright.expect(page.locator("#about .model")).to_be_in_viewport()
    fits(page, "ask")

    open_tab(page, "Teach")
    choose(page, "teach-images", place / "photos", folder=True)
    assert page.locator("#teach-images .drop-head input").evaluate_all("fields => fields.map(each => each.value).sort()") == [
        "coat",
        "first",
        "hat",
    ]
    shows(page, "teach-images", "Left out: 1 file that is not an image.")
    field = page.locator("#teach-images .drop-head", has=page.get_by_label("Remove first")).locator("input")
    field.fill(HOSTILE)  # more images of a known class
    field.blur()
    choose(page, "teach-images", loose)
    page.get_by_placeholder("Name of the class").last.fill("new thing")
    page.locator("#plan-button").click()
    shows(page, "plan", "18 images of 3 classes")  # all images of the known class were learned or are held out
    shows(page, "plan", "left out, because the model has learned the same pixels in the same class")
    fits(page, "plan")
    assert versions(place)[0] == (1, True), "a plan changes nothing"
    page.locator("#teach-button").click()
    shows(page, "teach-message", "Done: learned 3 classes")
    shows(page, "teach-message", "Leave-one-out accuracy")
    shows(page, "about", "6 classes")
    playwright.expect(page.locator("#plan")).not_to_contain_text("No plan yet")
    fits(page, "taught")
    assert set(MGCLIP.from_pretrained(place / "shop").class_names[3:]) == {"hat", "coat", "new thing"}

    open_tab(page, "Ask")
    page.locator("#ask-button").click()
    playwright.expect(page.locator("#answers .class").first).to_have_text("new thing", timeout=WAIT)

    open_tab(page, "Classes")
    hat = page.locator("#classes .card").filter(has=page.get_by_role("heading", name="hat", exact=True))
    first = page.locator("#classes .card").filter(has=page.get_by_role("heading", name=HOSTILE, exact=True))
    shows(page, "classes", "8 images learned")
    assert first.locator("img").count() == 3
    assert hat.locator("img").count() == 0
    hat.locator("summary", has_text="Rename").click()
    hat.get_by_placeholder("New name").fill("cap")
    fits(page, "classes")
    hat.get_by_role("button", name="Rename").click()
    shows(page, "classes-message", "Renamed hat to cap.")
    cap = page.locator("#classes .card").filter(has=page.get_by_role("heading", name="cap", exact=True))
    cap.locator("summary", has_text="Merge").click()
    cap.get_by_placeholder("Into which class?").fill("coat")
    cap.get_by_role("button", name="Merge").click()
    shows(page, "classes-message", "United cap with coat.")
    shows(page, "about", "5 classes")
    coat = page.locator("#classes .card").filter(has=page.get_by_role("heading", name="coat", exact=True))
    shows(page, "classes", "16 images learned")
    coat.locator("summary", has_text="Forget").click()
    coat.get_by_role("button", name="Forget it").click()
    shows(page, "classes-message", "coat was removed")
    shows(page, "about", "4 classes")

    open_tab(page, "Versions")
    newest = page.locator("#versions li").first
    shows(page, "versions", "forgot coat")
    assert "active" in newest.inner_text()
    lines = newest.locator("time").evaluate("time => time.getClientRects().length")
    assert lines == 1, "a date is on one line"
    fits(page, "versions")

    open_tab(page, "Gap")
    choose(page, "gap-images", [place / "photos" / "first" / f"first-{i}.png" for i in range(5)])
    page.locator("#gap-button").click()
    shows(page, "gap-picture", "5 images")
    drawing = page.locator("#gap-picture svg:visible")
    playwright.expect(drawing.locator("text", has_text="new thing")).to_be_visible()
    assert drawing.locator("image").count() == 5
    fits(page, "gap")
    back_to_the_first(page)


def test_answers_are_corrected_and_downloaded(visit, place):
    page, before = visit(), len(versions(place))
    files = [place / f"loose-{i}.png" for i in range(3)]
    choose(page, "ask-images", files)
    shows(page, "answers", "3 answers")
    page.get_by_role("button", name="Save corrections").click()
    shows(page, "ask-message", "There is no correction: give the right class of an image first.")
    right = page.locator("#answers input")
    right.nth(1).fill("no such class")
    page.get_by_role("button", name="Save corrections").click()
    shows(page, "ask-message", "no such class")
    assert len(versions(place)) == before
    right.nth(1).fill(LONG)
    right.nth(2).fill(HOSTILE)
    page.get_by_role("button", name="Save corrections").click()
    shows(page, "ask-message", "Corrected: 2 images added that were not learned before.")
    assert MGCLIP.from_pretrained(place / "shop").learned_as(files) == [(), (LONG,), (HOSTILE,)]
    playwright.expect(right.nth(1)).to_have_value("")
    link = page.get_by_role("link", name="Download CSV")
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "answers.csv"
    table = pd.read_csv(io.StringIO(urllib.parse.unquote(link.get_attribute("href").partition(",")[2])))
    assert list(table) == ["image", "rank", "class", "confidence", "likeness", "text", "head"]
    best = table[table["rank"] == 1]
    assert best["image"].tolist() == [file.name for file in files]
    assert best["class"].tolist() == page.locator("#answers .class").all_inner_texts()
    back_to_the_first(page)


def test_wrong_input_is_one_sentence_and_changes_nothing(visit, place):
    page, before, outside = visit(360), versions(place), sorted(place.iterdir())
    page.locator("#ask-button").click()
    shows(page, "ask-message", "There is no image: drop some first.")
    choose(page, "ask-images", [place / "loose-0.png", place / "not-an-image.png", place / "phone.heic", place / "too-large.png"])
    shows(page, "ask-images", "too-large.png is larger than 2 MB: choose a smaller image.")
    shows(page, "ask-message", "not-an-image.png cannot be read (not an image in a supported format)")
    shows(page, "ask-message", "phone.heic cannot be read (")
    shows(page, "answers", "1 answer")
    fits(page, "refused")
    choose(page, "ask-images", [place / f"loose-{i}.png" for i in range(8)] * 4)
    shows(page, "ask-images", "At most 30 images at a time; found 35.")
    open_tab(page, "Teach")
    page.locator("#plan-button").click()
    shows(page, "teach-message", "There is no image: drop some first.")
    choose(page, "teach-images", [place / "not-an-image.png"])
    page.locator("#plan-button").click()
    shows(page, "teach-message", "1 image without a class: fill in the name of the class.")
    page.get_by_placeholder("Name of the class").fill("../../evil")
    page.locator("#plan-button").click()
    shows(page, "teach-message", "No image of the class '../../evil' can be read: replace at least one.")
    page.get_by_role("button", name="Remove", exact=False).last.click()
    choose(page, "teach-images", [place / "photos" / "first" / "first-4.png"])
    page.get_by_placeholder("Name of the class").fill(HOSTILE)
    page.locator("#plan-button").click()
    shows(page, "teach-message", "There is no new image")
    playwright.expect(page.locator("#teach-button")).to_be_hidden()
    open_tab(page, "Classes")
    first = page.locator("#classes .card").first
    for act, given, sentence in (
        ("Rename", LONG, "already: choose another name, or merge the two classes."),
        ("Rename", " ", "A class needs a name of 1 to 200 characters; found 0."),
        ("Merge", HOSTILE, "A class cannot be merged with itself"),
        ("Merge", "no such class", "no such class"),
    ):
        if not first.locator("details[open] summary", has_text=act).count():
            first.locator("summary", has_text=act).click()
        first.locator("details[open] input").fill(given)
        first.locator("details[open] button").click()
        shows(page, "classes-message", sentence)
    assert versions(place) == before
    assert sorted(place.iterdir()) == outside


READABLE = """
() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const clear = element => (parse(getComputedStyle(element).backgroundColor)[3] ?? 1) < 0.5;
  const ratio = element => {
    let behind = element;
    while (behind.parentElement && clear(behind)) behind = behind.parentElement;
    const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(parse).map(light);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const own = element => [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  const all = [...document.querySelectorAll(".area *, [role=tab], button")].filter(each => each.checkVisibility() && own(each));
  return [all.length, all.filter(each => ratio(each) < 4.5).map(each => `${each.tagName} ${each.textContent.trim()}`)];
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(visit, place, scheme):
    page = visit(820, scheme)
    choose(page, "ask-images", [place / "loose-0.png", place / "not-an-image.png"])
    shows(page, "answers", "1 answer")
    open_tab(page, "Teach")
    choose(page, "teach-images", place / "photos", folder=True)
    page.locator("#plan-button").click()
    shows(page, "plan", "coat")
    for name in TABS:
        open_tab(page, name)
        page.wait_for_timeout(300)  # colours change slowly
        number, faint = page.evaluate(READABLE)
        assert number > 10
        assert faint == [], name


def test_a_dropped_folder_is_read_with_its_classes(visit, place):
    """Chromium gives scripts no folder to drop, so the drop has an entry that reads like one."""
    page = visit()
    open_tab(page, "Teach")
    page.evaluate(
        """async () => {
          const blob = await (await fetch("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")).blob();
          const file = (path) => ({isFile: true, name: path.split("/").pop(), fullPath: path, file: done => done(new File([blob], path.split("/").pop()))});
          const folder = (path, inside) => ({isFile: false, name: path.split("/").pop(), fullPath: path,
            createReader: () => { const left = [inside, []]; return {readEntries: done => done(left.shift())}; }});
          const entry = folder("/march", [folder("/march/boat", [file("/march/boat/a.png")]), folder("/march/car", [file("/march/car/b.png"), file("/march/car/c.png")])]);
          const event = new Event("drop", {bubbles: true, cancelable: true});
          event.dataTransfer = {items: [{webkitGetAsEntry: () => entry}], files: []};
          document.querySelector("#teach-images .drop").dispatchEvent(event);
        }"""
    )
    playwright.expect(page.locator("#teach-images .drop-group")).to_have_count(2, timeout=WAIT)
    heads = page.locator("#teach-images .drop-head")
    assert [each.locator("input").input_value() for each in heads.all()] == ["boat", "car"]
    playwright.expect(heads.nth(1)).to_contain_text("2 images")
