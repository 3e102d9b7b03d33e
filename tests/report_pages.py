"""Reads the pages of reports, and checks what is true of every page."""

import re
from html.parser import HTMLParser
from itertools import pairwise

EMPTY = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page in order, and their text. It fails if elements are not nested correctly."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def read(file):
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    check(text, page)
    return page


def check(text, page):
    """Check that a page is complete, self-contained and readable by a screen reader."""
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        for key in ("href", "aria-labelledby", "aria-describedby"):
            if attrs.get(key):
                assert attrs[key].startswith("data:") or attrs[key].removeprefix("#") in ids
        assert re.match(r"data:image/(png|jpeg);base64,", attrs.get("src", "data:image/png;base64,"))
        assert set(re.findall(r"url\(#([^)]+)\)", " ".join(v or "" for v in attrs.values()))) <= set(ids)
        assert not [key for key in attrs if key.startswith("on")]
    assert not page.all("script")
    assert not re.search(r"url\((?!#)|@import|https?://", text)
    assert page.all("html") == [{"lang": "en"}]
    assert "default-src 'none'" in text
    for attrs in page.all("svg"):
        assert attrs.get("aria-hidden") == "true" or (attrs["role"] == "img" and attrs["aria-labelledby"])
    assert all(attrs["alt"] for attrs in page.all("img"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def cells(page_text, caption):
    """The cells of the table with this caption, a list for each row."""
    table = next(part for part in page_text.split("<table") if f"<caption>{caption}" in part).split("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [
        [re.sub(r"<svg.*?</svg>|<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
        for row in rows
    ]
