"""The one style of all figures."""

from xml.etree import ElementTree

from mgclip.report.figures import JOINT_STYLE, Label, Line, curve_style, draw, paint_lines, save_figure

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
