"""The studio of a small model, and a browser that visits it."""

import os

import numpy as np
import pytest
from PIL import Image
from studio_pages import HOSTILE, LONG, WIDTHS, shows
from studio_server import studio

from mgclip import MGCLIP, Settings
from mgclip.method.methods import ANALYTIC


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def address(place, icons):
    pytest.importorskip("gradio", reason="Gradio is not installed: extra studio")
    model = MGCLIP.from_pretrained("iconclip", settings=Settings(**ANALYTIC, features=256))
    names = [HOSTILE, str(icons["class_names"][1]), LONG]
    picked = np.isin(icons["y_train"], [0, 1, 3])
    labels = np.searchsorted([0, 1, 3], icons["y_train"][picked])
    model.learn(icons["x_train"][picked], labels, names)
    held_out = {HOSTILE: [str(place / "photos" / "first" / f"first-{i}.png") for i in range(3)]}
    model.save_pretrained(place / "shop", note={"what": "learned 3 classes", "classes": names}, files={"held-out.json": held_out})
    with studio(place, "shop", "--max-mb", "2", "--max-images", "30") as address:
        yield address


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
