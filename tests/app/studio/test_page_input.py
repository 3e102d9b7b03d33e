"""What a person gives to the studio in a real browser: corrections, wrong input, folders, and the attempts of a hostile visitor."""

import io
import re
import urllib.parse

import pandas as pd
from PIL import Image
from studio_pages import HOSTILE, LONG, WAIT, back_to_the_first, choose, expect, fits, needs_chromium, open_tab, shows, versions

from mgclip import MGCLIP

pytestmark = needs_chromium


def test_answers_are_corrected_and_downloaded(visit, place):
    page, before = visit(), len(versions(place))
    page.locator("#ask-button").click()
    shows(page, "ask-message", "There is no image: drop some first.")
    files = [place / f"loose-{i}.png" for i in range(3)]
    choose(page, "ask-images", files)
    shows(page, "answers", "3 answers")
    page.get_by_role("button", name="Save corrections").click()
    shows(page, "ask-message", "There is no correction: give the right class of an image first.")
    right = page.locator("#answers input")
    right.nth(1).fill("no such class")
    page.get_by_role("button", name="Save corrections").click()
    shows(page, "ask-message", "'no such class': correct the name, or teach the class first.")
    assert len(versions(place)) == before
    right.nth(1).fill(LONG)
    right.nth(2).fill(HOSTILE)
    page.get_by_role("button", name="Save corrections").click()
    shows(page, "ask-message", "Corrected: 2 images added that were not learned before.")
    assert MGCLIP.from_pretrained(place / "shop").learned_as(files) == [(), (LONG,), (HOSTILE,)]
    expect(right.nth(1)).to_have_value("")
    link = page.get_by_role("link", name="Download CSV")
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "answers.csv"
    table = pd.read_csv(io.StringIO(urllib.parse.unquote(link.get_attribute("href").partition(",")[2])))
    assert list(table) == ["image", "rank", "class", "best", "confidence", "likeness", "text", "head"]
    best = table[table["rank"] == 1]
    assert best["image"].tolist() == [file.name for file in files]
    assert best["class"].tolist() == page.locator("#answers .class").all_inner_texts()
    back_to_the_first(page)
    expect(page.locator("#ask-message")).to_have_text("")  # it was about another version
    expect(page.locator("#answers .card")).to_have_count(3)


def test_images_of_one_name_in_two_folders_are_told_apart_on_the_page_and_in_the_table(visit, place, tmp_path):
    page = visit(360)
    names = ("june/b/photo #1.png", "june/a/photo #1.png", "june/a/photo #2.png", "june/c/photo #1.png")
    for name, image in zip(names, (0, 1, 2, 0), strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((place / f"loose-{image}.png").read_bytes())
    choose(page, "ask-images", tmp_path / "june", folder=True)
    shows(page, "answers", "3 answers")
    places = ["june/a/photo #1.png", "june/a/photo #2.png", "june/b/photo #1.png, june/c/photo #1.png"]
    assert page.locator("#answers .file").all_inner_texts() == places
    expect(page.get_by_label(f"Right class of {places[0]}", exact=True)).to_be_visible()
    link = page.get_by_role("link", name="Download CSV").get_attribute("href")
    table = pd.read_csv(io.StringIO(urllib.parse.unquote(link.partition(",")[2])))
    assert table[table["rank"] == 1]["image"].tolist() == sorted(names)
    fits(page, "places")


def test_copies_of_one_name_are_images_of_each_class_and_left_out_in_a_class(visit, place, tmp_path):
    page = visit()
    for name, image in (("may/cap", 0), ("june/cap", 0), ("june/cap", 1), ("june/scarf", 0), ("june/scarf", 2)):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / f"{image}.png").write_bytes((place / f"loose-{image}.png").read_bytes())
    open_tab(page, "Teach")
    choose(page, "teach-images", tmp_path / "may", folder=True)
    choose(page, "teach-images", tmp_path / "june", folder=True)
    expect(page.locator("#teach-images .drop-head span")).to_have_text(["3 images", "2 images"])
    page.locator("#plan-button").click()
    shows(page, "plan", "4 images of 2 classes")
    copy = "left out, because another file of the class has the same content: 1 image, such as june/cap/0.png (the same as may/cap/0.png)"
    shows(page, "plan", copy)
    shows(page, "plan", "1 image of one class is also in another class, such as june/scarf/0.png and may/cap/0.png")


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
    shows(page, "ask-images", "At most 30 images at a time; found 35: drop fewer.")
    open_tab(page, "Teach")
    page.locator("#plan-button").click()
    shows(page, "teach-message", "There is no image: drop some first.")
    choose(page, "teach-images", [place / "not-an-image.png"])
    expect(page.locator("#teach-message")).to_have_text("")  # there is an image now
    page.locator("#plan-button").click()
    shows(page, "teach-message", "1 image without a class: fill in the name of the class.")
    page.get_by_placeholder("Class name").fill("../../evil")
    page.locator("#plan-button").click()
    shows(page, "teach-message", "No image of the class '../../evil' can be read: replace at least one.")
    page.get_by_role("button", name="Remove", exact=False).last.click()
    choose(page, "teach-images", [place / "photos" / "first" / "first-4.png"])
    page.get_by_placeholder("Class name").fill(HOSTILE)
    page.locator("#plan-button").click()
    shows(page, "teach-message", "There is no new image")
    expect(page.locator("#teach-button")).to_be_hidden()
    open_tab(page, "Classes")
    first = page.locator("#classes .card").first
    for act, given, sentence in (
        ("Rename", LONG, "already: choose another name, or unite the two classes."),
        ("Rename", " ", "A class needs a name of 1 to 200 characters; found 0."),
        ("Unite", HOSTILE, "A class cannot be united with itself"),
        ("Unite", "no such class", "no such class"),
    ):
        if not first.locator("details[open] summary", has_text=act).count():
            first.locator("summary", has_text=act).click()
        first.locator("details[open] input").fill(given)
        first.locator("details[open] button").click()
        shows(page, "classes-message", sentence)
    assert versions(place) == before
    assert sorted(place.iterdir()) == outside


def test_images_that_are_dropped_while_others_are_uploaded_are_all_kept(visit, place):
    page = visit()
    open_tab(page, "Teach")
    held = []
    page.route(re.compile("gradio_api/upload"), lambda route: route.continue_() if held else held.append(route))
    with page.expect_request(re.compile("gradio_api/upload")):
        page.locator("#teach-images input[multiple]").set_input_files([place / "loose-0.png"])
    with page.expect_response(re.compile("gradio_api/upload")):
        page.locator("#teach-images input[multiple]").set_input_files([place / "loose-1.png"])
    page.locator("#plan-button").click()
    shows(page, "teach-message", "The images are still being uploaded: wait a moment.")
    held[0].continue_()
    expect(page.locator("#teach-images .drop.busy")).to_have_count(0, timeout=WAIT)
    expect(page.locator("#teach-images .drop-group")).to_have_count(2)
    page.locator("#plan-button").click()
    shows(page, "teach-message", "2 images without a class")


def test_folders_that_programs_hide_are_no_classes(visit, tmp_path):
    page = visit()
    open_tab(page, "Teach")
    for name in ("march/car/a.png", "march/.cache/car/b.png", "march/car/.c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    choose(page, "teach-images", tmp_path / "march", folder=True)
    heads = page.locator("#teach-images .drop-head")
    expect(heads).to_have_count(1)
    expect(heads).to_contain_text("1 image")
    assert heads.locator("input").input_value() == "car"


def test_a_dropped_folder_is_read_with_its_classes(visit, place):
    """Chromium gives scripts no folder to drop, so the drop has an entry that reads like one."""
    page = visit()
    open_tab(page, "Teach")
    expect(page.locator("#teach-images .drop[data-ready]")).to_have_count(1, timeout=WAIT)
    page.evaluate(
        """async () => {
          const blob = await (await fetch("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")).blob();
          const file = (path) => ({isFile: true, name: path.split("/").pop(), fullPath: path, file: done => done(new File([blob], path.split("/").pop()))});
          const folder = (path, inside) => ({isFile: false, name: path.split("/").pop(), fullPath: path,
            createReader: () => { const left = [inside, []]; return {readEntries: done => done(left.shift())}; }});
          const entry = folder("/march", [folder("/march/car", [file("/march/car/c.png"), file("/march/car/b.png")]), folder("/march/boat", [file("/march/boat/a.png")])]);
          const event = new Event("drop", {bubbles: true, cancelable: true});
          event.dataTransfer = {items: [{webkitGetAsEntry: () => entry}], files: []};
          document.querySelector("#teach-images .drop").dispatchEvent(event);
        }"""
    )
    expect(page.locator("#teach-images .drop-group")).to_have_count(2, timeout=WAIT)
    heads = page.locator("#teach-images .drop-head")
    assert [each.locator("input").input_value() for each in heads.all()] == ["boat", "car"]
    expect(heads.nth(1)).to_contain_text("2 images")


def test_a_folder_of_training_and_test_images_is_not_learned_as_a_whole(visit, tmp_path):
    page = visit(360)
    open_tab(page, "Teach")
    for name in ("photos/train/car/a.png", "photos/train/bus/b.png", "photos/test/car/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    choose(page, "teach-images", tmp_path / "photos", folder=True)
    shows(page, "teach-images", "these folders contain training and test images: drop only the folder train")
    expect(page.locator("#teach-images .drop-head")).to_have_count(0)
    choose(page, "teach-images", tmp_path / "photos" / "train", folder=True)
    expect(page.locator("#teach-images .drop-head")).to_have_count(2)
    fits(page, "two folders")


def test_images_wait_while_the_model_learns(visit, place):
    page = visit()
    open_tab(page, "Teach")
    expect(page.locator("#teach-images .drop[data-ready]")).to_have_count(1, timeout=WAIT)
    page.evaluate("document.querySelector('#teach-images .drop').dataset.locked = 'yes'")
    choose(page, "teach-images", [place / "loose-0.png"])
    shows(page, "teach-images", "Wait until the model has learned these images, then drop more.")
    expect(page.locator("#teach-images .drop-head")).to_have_count(0)


def test_a_change_that_is_made_twice_is_shown_twice(visit):
    page = visit()
    for _ in range(2):
        open_tab(page, "Classes")
        card = page.locator("#classes .card").filter(has=page.get_by_role("heading", name=HOSTILE, exact=True))
        card.locator("summary", has_text="Forget").click()
        card.get_by_role("button", name="Forget the class").click()
        shows(page, "about", "2 classes")
        expect(card).to_have_count(0, timeout=WAIT)
        back_to_the_first(page)


def test_a_file_that_is_dropped_beside_the_zone_does_not_replace_the_page(visit):
    page = visit()
    expect(page.locator("#ask-images .drop[data-ready]")).to_have_count(1, timeout=WAIT)
    stopped = page.evaluate(
        """() => ["file", "text"].map((kind) => ["dragover", "drop"].map((name) => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(...(kind === "file" ? [new File(["x"], "a.png")] : ["words", "text/plain"]));
          return !document.body.dispatchEvent(new DragEvent(name, {bubbles: true, cancelable: true, dataTransfer}));
        }))"""
    )
    assert stopped == [[True, True], [False, False]], "text can still be dragged into a field"


def test_a_page_shows_no_classes_before_it_has_read_them(visit):
    page, held = visit(360), []
    page.route(re.compile("gradio_api/queue/join"), lambda route: held.append(route))
    page.reload()
    shows(page, "about", "Reading the classes …")
    expect(page.locator("#about")).not_to_contain_text("version")
    expect(page.locator("#ask-images .drop[data-ready]")).to_have_count(1, timeout=WAIT)  # the page is drawn now
    fits(page, "reading")
    page.unroute(re.compile("gradio_api/queue/join"))
    page.reload()
    shows(page, "about", "3 classes")


def test_a_page_says_that_its_model_is_gone(visit, place):
    page = visit(360)
    (place / "shop").rename(place / "away")
    try:
        page.reload()
        shows(page, "about", "There is no model in shop any more: put it back, or start the studio again.")
        fits(page, "gone")
    finally:
        (place / "away").rename(place / "shop")
    open_tab(page, "Versions")
    shows(page, "about", "3 classes")


def test_a_page_shows_what_another_one_did(visit, place):
    page, other = visit(), visit()
    open_tab(other, "Classes")
    card = other.locator("#classes .card").filter(has=other.get_by_role("heading", name=HOSTILE, exact=True))
    card.locator("summary", has_text="Forget").click()
    card.get_by_role("button", name="Forget the class").click()
    shows(other, "about", "2 classes")
    page.bring_to_front()
    open_tab(page, "Versions")
    shows(page, "about", "2 classes")
    expect(page.locator("#versions li")).to_have_count(len(versions(place)), timeout=WAIT)
    back_to_the_first(page)
    other.bring_to_front()
    open_tab(other, "Ask")
    choose(other, "ask-images", [place / "loose-0.png"])
    shows(other, "about", "3 classes")
