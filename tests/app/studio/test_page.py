"""The studio in a real browser, on a phone, a tablet and a wide screen: every job, and text that can be read."""

import pytest
from studio_pages import (
    HOSTILE,
    LONG,
    TABS,
    WAIT,
    back_to_the_first,
    choose,
    expect,
    fits,
    needs_chromium,
    open_tab,
    shows,
    versions,
)

from mgclip import MGCLIP

pytestmark = needs_chromium

ZONE = "document.querySelector('#teach-images .drop')"


def test_the_message_of_a_long_list_comes_into_view(visit):
    page = visit(360)
    page.set_viewport_size({"width": 360, "height": 400})
    open_tab(page, "Classes")
    last = page.locator("#classes .card").last
    last.locator("summary", has_text="Rename").click()
    last.get_by_placeholder("New name").fill(HOSTILE)
    last.get_by_role("button", name="Rename").click()
    shows(page, "classes-message", "already: choose another name")
    expect(page.locator("#classes-message")).to_be_in_viewport(timeout=5000)


def test_screen_readers_hear_messages_of_regions_that_were_there_before(visit):
    page = visit(360)
    region = page.locator("#ask-message [aria-live=polite]")
    expect(region).to_have_text("")
    assert region.evaluate("region => region.checkVisibility({checkVisibilityCSS: true})"), "a hidden region is not read out"
    page.evaluate("() => { window.region = document.querySelector('#ask-message [aria-live]') }")
    page.locator("#ask-button").click()
    shows(page, "ask-message", "There is no image: drop some first.")
    assert page.evaluate("() => window.region.isConnected && window.region.textContent.trim()")


def test_screen_readers_hear_the_plan_the_answers_and_the_drawing(visit, place):
    page, image = visit(360), [place / "photos" / "first" / "first-4.png"]
    regions = page.locator(".heard[role=status]")
    assert set(regions.all_inner_texts()) == {""}, "a region that is there before is read out"
    choose(page, "ask-images", image)
    expect(regions.filter(has_text="1 answer of version 1")).to_have_count(1, timeout=WAIT)
    open_tab(page, "Teach")
    choose(page, "teach-images", place / "photos" / "hat", folder=True)
    page.locator("#plan-button").click()
    expect(regions.filter(has_text="Plan: 8 images of 1 class · ")).to_have_count(1, timeout=WAIT)
    page.get_by_role("button", name="Remove hat").click()
    expect(regions.filter(has_text="Plan")).to_have_count(0)
    open_tab(page, "Gap")
    choose(page, "gap-images", image)
    page.locator("#gap-button").click()
    expect(regions.filter(has_text="Pictures or dots: 1 image,")).to_have_count(1, timeout=WAIT)
    fits(page, "heard")


def test_the_keyboard_goes_on_after_a_class_is_removed_by_its_new_name(visit, place):
    page = visit()
    open_tab(page, "Teach")
    choose(page, "teach-images", place / "photos", folder=True)
    page.locator("#teach-images .drop-head input").nth(1).fill("new name")
    page.keyboard.press("Tab")
    for removed, focused in (("new name", "Remove hat"), ("hat", "Remove coat"), ("coat", None)):
        page.get_by_role("button", name=f"Remove {removed}", exact=True).press("Enter")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == focused
    expect(page.locator("#teach-images input[multiple]")).to_be_focused()


def test_the_keyboard_goes_on_after_a_class_is_edited_or_a_version_is_chosen(visit):
    page = visit()
    open_tab(page, "Classes")
    for act, at, given, said, goes_on in (
        ("Rename", 1, "cap", "Renamed", "Rename cap"),
        ("Rename", 1, HOSTILE, "already", "New name of cap"),
        ("Unite", 1, LONG, "United", f"Unite {LONG} with another class"),
        ("Forget", 1, "", "removed", f"Forget {HOSTILE}"),
    ):
        summary = page.locator("#classes .card").nth(at).locator("summary", has_text=act)
        expect(summary).to_be_visible(timeout=WAIT)
        if summary.locator("..").get_attribute("open") is None:
            summary.press("Enter")
        page.keyboard.press("Tab")
        if given:
            page.keyboard.type(given)
        page.keyboard.press("Enter")
        shows(page, "classes-message", said)
        expect(page.locator(":focus")).to_have_attribute("aria-label", goes_on, timeout=WAIT)
        page.keyboard.press("Escape")
    open_tab(page, "Versions")
    page.get_by_role("button", name="Go to version 1", exact=True).press("Enter")
    shows(page, "versions-message", "Went to version 1.")
    expect(page.locator(":focus")).to_have_attribute("aria-label", "Go to version 2", timeout=WAIT)


def test_names_are_written_and_cut_in_their_own_direction(visit, place):
    page, name = visit(360), "שלום עולם"
    open_tab(page, "Classes")
    card = page.locator("#classes .card").filter(has=page.get_by_role("heading", name=HOSTILE, exact=True))
    card.locator("summary", has_text="Rename").click()
    card.get_by_placeholder("New name").fill(name)
    card.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name=name)).to_have_css("direction", "rtl", timeout=WAIT)
    shows(page, "about", name)
    open_tab(page, "Ask")
    choose(page, "ask-images", [place / "photos" / "first" / "first-4.png"])
    names = page.locator("#answers .bars .name")
    expect(names.first).to_have_text(name, timeout=WAIT)
    assert names.evaluate_all("names => names.map(name => getComputedStyle(name).direction)") == ["rtl", "ltr", "ltr"]
    back_to_the_first(page)


@pytest.mark.parametrize("width", [360, *(pytest.param(width, marks=pytest.mark.slow) for width in (820, 1920))])
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
    expect(card.locator(".class")).to_have_text(HOSTILE)
    best = card.locator(".bars li").first
    assert best.locator(".number").inner_text() == card.locator(".confidence").inner_text()
    assert card.locator("img").evaluate("image => image.naturalWidth") > 10
    page.mouse.wheel(0, 600)
    expect(page.locator("#about .model")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Save corrections")).to_be_in_viewport(ratio=1)
    fits(page, "ask")

    open_tab(page, "Teach")
    choose(page, "teach-images", place / "photos", folder=True)
    fields = page.locator("#teach-images .drop-head input").evaluate_all("fields => fields.map(each => each.value)")
    assert fields == ["coat", "first", "hat"], "classes are in the order in which the command line learns them"
    shows(page, "teach-images", "Left out: 1 file that is not an image.")
    field = page.locator("#teach-images .drop-head", has=page.get_by_label("Remove first")).locator("input")
    field.fill(HOSTILE)  # more images of a known class
    field.blur()
    choose(page, "teach-images", loose)
    page.get_by_placeholder("Class name").last.fill("new thing")
    page.locator("#plan-button").click()
    shows(page, "plan", "18 images of 3 classes")  # all images of the known class were learned or are held out
    shows(page, "plan", "left out, because the model has learned the same pixels in the same class")
    fits(page, "plan")
    assert versions(place)[0] == (1, True), "a plan changes nothing"
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "queue/join" in request.url else None)
    name = page.get_by_placeholder("Class name").last
    name.fill("other thing")
    name.blur()
    shows(page, "plan", "No plan yet")
    expect(page.locator("#teach-button")).to_be_hidden()
    assert not asked, "an answer of the server could arrive after the next plan"
    name.fill("new thing")
    page.locator("#plan-button").click()
    shows(page, "plan", "18 images of 3 classes")
    assert page.evaluate(f"{ZONE}.dataset.locked") is None
    page.locator("#teach-button").click()
    page.wait_for_function(f"{ZONE}.dataset.locked === 'yes'")
    shows(page, "teach-message", "Done: learned 3 classes")
    page.wait_for_function(f"!{ZONE}.dataset.locked")
    shows(page, "teach-message", "Leave-one-out accuracy")
    shows(page, "about", "6 classes")
    expect(page.locator("#plan")).not_to_contain_text("No plan yet")
    fits(page, "taught")
    assert set(MGCLIP.from_pretrained(place / "shop").class_names[3:]) == {"hat", "coat", "new thing"}

    open_tab(page, "Ask")
    page.locator("#ask-button").click()
    expect(page.locator("#answers .class").first).to_have_text("new thing", timeout=WAIT)

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
    cap.locator("summary", has_text="Unite").click()
    cap.get_by_placeholder("With which class?").fill("coat")
    cap.get_by_role("button", name="Unite").click()
    shows(page, "classes-message", "United cap with coat.")
    shows(page, "about", "5 classes")
    coat = page.locator("#classes .card").filter(has=page.get_by_role("heading", name="coat", exact=True))
    shows(page, "classes", "16 images learned")
    coat.locator("summary", has_text="Forget").click()
    coat.get_by_role("button", name="Forget the class").click()
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
    expect(drawing.locator("text", has_text="new thing")).to_be_visible()
    assert drawing.locator("image").count() == 5
    fits(page, "gap")
    back_to_the_first(page)


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
