"""The one style of all figures."""

import re
from xml.etree import ElementTree

from mgclip.experiment.table_results import TableResult
from mgclip.report.figures import JOINT_STYLE, Label, Line, curve_style, draw, paint_lines, save_figure
from mgclip.report.file_figures import change_figure

CURVES = [
    Line([90.0, 80.0, 70.0], curve_style(0), name="first"),
    Line([85.0, None, 75.0], curve_style(1), name="second"),
    Line([95.0], (JOINT_STYLE, curve_style(2)[1]), name="joint"),
]


def paint(axes):
    paint_lines(axes, CURVES, ("tasks learned", "accuracy, %"), longest=3)


def test_the_first_64_curves_have_distinct_styles():
    assert len({curve_style(number) for number in range(64)}) == 64
    assert len({curve_style(number)[0] for number in range(8)}) == 8  # distinct without colour


def test_files_and_pages_show_the_same_curves(tmp_path):
    save_figure(paint, tmp_path / "a.svg", "Accuracy")
    save_figure(paint, tmp_path / "b.svg", "Accuracy")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    text = (tmp_path / "a.svg").read_text()
    for word in ("Accuracy", "first", "second", "joint", "tasks learned", "accuracy, %"):
        assert word in text
    element = draw(paint, Label("curves", "Accuracy", "Two curves."))
    assert element == draw(paint, Label("curves", "Accuracy", "Two curves."))
    for colour in (line.style[1] for line in CURVES):
        assert colour.lower() in text
        assert colour.lower() in element


def test_a_single_value_of_the_joint_method_is_a_level_line():
    levels = []

    class Axes:
        xaxis = type("Axis", (), {"set_major_locator": lambda self, locator: None})()

        def axhline(self, value, **style):
            levels.append((value, style["label"]))

        def plot(self, positions, values, style, **options):
            assert list(positions) == [1, 2, 3]

        def set(self, **options):
            assert options["xlim"] == (0.6, 3.4)

    paint_lines(Axes(), CURVES, ("", ""), longest=3)
    assert levels == [(95.0, "joint")]


def test_ids_in_a_page_are_unique_to_their_figure():
    ids = []
    for ident in ("one", "two"):
        root = ElementTree.fromstring(draw(paint, Label(ident, "Title", "Numbers.")))
        ids.append({element.get("id") for element in root.iter() if element.get("id")})
    assert ids[0]
    assert not ids[0] & ids[1]


def test_dollar_signs_in_a_title_are_text(tmp_path):
    save_figure(paint, tmp_path / "a.svg", "cash$_{x$")
    assert "cash$_{x$" in (tmp_path / "a.svg").read_text()


def test_the_figure_of_a_setting_shows_the_accuracies_that_were_measured(tmp_path):
    for values, shown in (({"Avg": (0.5, None), "Last": (0.4, None)}, ["Avg", "Last"]), ({"Last": (0.4, None)}, ["Last"])):
        rows = [TableResult("x", f"rank={rank}", "mg-clip", 1, values, (1,), 1.0, ()) for rank in (4, 8)]
        change_figure(rows, tmp_path / "a.svg")
        text = (tmp_path / "a.svg").read_text()
        assert [name for name in ("Transfer", "Average", "Avg", "Last") if f">{name}<" in text] == shown


def test_the_figure_of_two_settings_names_both(tmp_path):
    values = {"Avg": (0.5, None), "Last": (0.4, None)}
    rows = [TableResult("x", change, "mg-clip", 1, values, (1,), 1.0, ()) for change in ("rank=4", "alpha=0.2", "alpha=null")]
    change_figure(rows, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert all(f">{word}<" in text for word in ("rank=4", "alpha=0.2", "alpha=null", "rank and alpha"))


def test_a_title_that_is_wider_than_the_figure_gets_more_lines(tmp_path):
    save_figure(paint, tmp_path / "a.svg", "photos/" + "x" * 90 + ": images and texts")
    lines = re.findall(r">([^<>]*(?:x{9}|texts)[^<>]*)</", (tmp_path / "a.svg").read_text().partition("</metadata>")[2])
    assert len(lines) > 1
    assert max(map(len, lines)) <= 64
