"""What the tests of the studio do on its page in a browser."""

import os
import shutil

import pytest

from mgclip import history

CHROMIUM = os.environ.get("MGCLIP_CHROMIUM") or shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: install it or set MGCLIP_CHROMIUM")
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


def expect(what):
    from playwright.sync_api import expect

    return expect(what)


def shows(page, area, text):
    expect(page.locator(f"#{area}")).to_contain_text(text, timeout=WAIT)


def choose(page, area, files, *, folder=False):
    expect(page.locator(f"#{area} .drop[data-ready]")).to_have_count(1, timeout=WAIT)  # its script listens to the inputs now
    page.locator(f"#{area} input[{'webkitdirectory' if folder else 'multiple'}]").set_input_files(files)
    expect(page.locator(f"#{area} .drop.busy")).to_have_count(0, timeout=WAIT)


def open_tab(page, name):
    tab = page.get_by_role("tab", name=name, exact=True)
    tab.scroll_into_view_if_needed()
    expect(tab).to_be_in_viewport(ratio=1)
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
    shows(page, "versions-message", "Went to version 1.")
    shows(page, "about", "3 classes")
