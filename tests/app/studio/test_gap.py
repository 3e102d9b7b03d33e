"""The drawing of the gap: labels stay inside it and do not cover one another."""

from unicodedata import east_asian_width

import numpy as np
import pytest

pytest.importorskip("gradio", reason="Gradio is not installed: extra studio")

from mgclip.app.studio.gap import EDGE, LETTER, LINE, SIDE, TALL, WIDE, _placed, labelled, map_html
from mgclip.app.studio.work import Map


def box(mark):
    width = LETTER * sum(2 if east_asian_width(letter) == "W" else 1 for letter in mark.label)
    left = mark.label_x - {"start": 0, "middle": width / 2, "end": width}[mark.anchor]
    return left, mark.label_y - LINE, left + width, mark.label_y


@pytest.mark.parametrize("name", ["class", "日本語のクラス"])
@pytest.mark.parametrize("size", [WIDE, TALL])
def test_labels_are_inside_and_apart(size, name):
    width, height, _ = size
    rng = np.random.default_rng(0)
    texts = np.stack([rng.uniform(0.1 * width, 0.9 * width, 12), rng.uniform(40, height - 40, 12)], axis=1)
    names = [f"{name} {n}" for n in range(12)]
    marks = labelled(texts, names, ["#000"] * 12, range(12), [], size)
    boxes = [box(mark) for mark in marks]
    assert [mark.label for mark in marks] == names
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    for n, a in enumerate(boxes):
        for b in boxes[:n]:
            assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])


@pytest.mark.parametrize("size", [WIDE, TALL])
@pytest.mark.parametrize("spread", [(4.0, 1.0), (1.0, 4.0), (1.0, 1.0), (0.0, 0.0)])
def test_distances_are_drawn_to_one_scale_inside_the_drawing(size, spread):
    width, height, _ = size
    both = np.random.default_rng(0).uniform(-1, 1, (30, 2)) * spread
    images, texts = _placed(both[:20], both[20:], width, height)
    placed = np.concatenate([images, texts])
    drawn, true = (np.linalg.norm(points[:, None] - points, axis=-1) for points in (placed, both))
    assert np.allclose(drawn, true * drawn.max() / (true.max() or 1))
    assert (placed >= np.array([SIDE * width, EDGE]) - 0.01).all()
    assert (placed <= np.array([width - SIDE * width, height - EDGE]) + 0.01).all()


def test_long_labels_of_wide_letters_are_cut_where_narrow_ones_are():
    texts = np.array([[200.0, 100.0], [200.0, 300.0]])
    wide, narrow = labelled(texts, ["猫" * 30, "c" * 30], ["#000"] * 2, range(2), [], TALL)
    assert (wide.label, narrow.label) == ("猫" * 11 + "…", "c" * 23 + "…")


def test_a_drawing_of_many_classes_names_some_and_says_so(tmp_path):
    rng = np.random.default_rng(0)
    count = WIDE[-1] + 5
    found = Map(
        rng.normal(size=(50, 2)).astype(np.float32),
        rng.normal(size=(count, 2)).astype(np.float32),
        np.full(50, count - 1),
        tuple(f"<class {n}>" for n in range(count)),
    )
    page = map_html(found, [tmp_path / f"{n}.png" for n in range(50)])
    assert page.count("<text") == WIDE[-1] + TALL[-1]
    assert f"&lt;class {count - 1}&gt;</text>" in page, "a class that is an answer is named"
    assert "There is no room for all labels" in page
    assert "<class" not in page
