"""The report in a real browser: nothing runs, nothing is fetched, everything is readable in light, in dark and printed."""

import pytest
from made_runs import HOSTILE, evaluation, make_run
from PIL import Image

from mgclip.experiment.evaluation import JudgedImage
from mgclip.report.page import write_evaluation, write_report

LOOKS = {
    "light": {"media": "screen", "color_scheme": "light"},
    "dark": {"media": "screen", "color_scheme": "dark"},
    "print": {"media": "print", "color_scheme": "dark"},
}
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture
def visit(browser):
    """Open a page and return it with its messages and requests."""
    pages = []

    def go(file, size=DESK, **look):
        page = browser.new_page(viewport=size)
        pages.append(page)
        page.messages, page.requests = [], []
        page.on("console", lambda message: page.messages.append(message.text))
        page.on("pageerror", lambda error: page.messages.append(str(error)))
        page.on("dialog", lambda dialog: (page.messages.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: page.requests.append(request.url))
        page.emulate_media(**(look or LOOKS["light"]))
        page.goto(file.as_uri())
        return page

    yield go
    for page in pages:
        page.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    place = tmp_path_factory.mktemp("report")
    methods = ("zero-shot", "fine-tune", "ranpac", "mg-clip", "joint")
    run = make_run(place / "run", methods=methods, tasks=10, per_task=3, names=HOSTILE)
    return write_report([run], place / "page.html")


FAINT = """
() => {
  const parse = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = text => {
    const [r, g, b] = parse(text).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = element => {
    const style = getComputedStyle(element);
    let behind = element;
    while (behind && /rgba\\(.*, 0\\)|transparent/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
    const ink = light(element instanceof SVGElement ? style.fill : style.color);
    const paper = light(getComputedStyle(behind || document.documentElement).backgroundColor);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  };
  const all = [...document.querySelectorAll("p, a, dt, dd, svg text, td, th, figcaption, summary, caption, bdi, h1, h2, h3, h4, h5")];
  const shown = all.filter(element => element.checkVisibility() && element.textContent.trim());
  return [shown.length, shown.filter(element => ratio(element) < 4.5).map(element => element.tagName + ": " + element.textContent)];
}
"""


@pytest.mark.parametrize("look", [pytest.param(look, marks=pytest.mark.slow) if look == "dark" else look for look in LOOKS])
def test_nothing_runs_and_everything_is_shown(visit, report, look):
    page = visit(report, **LOOKS[look])
    page.wait_for_timeout(100)
    assert page.messages == []
    assert [url for url in page.requests if not url.startswith("data:")] == [report.as_uri()]
    assert page.locator("h2").count() == 9
    assert page.locator("section svg[role=img]").count() >= 5
    for name in HOSTILE:
        assert page.get_by_text(name, exact=True).first.text_content() == name
    broken = page.evaluate("[...document.images].filter(image => !image.naturalWidth).length")
    assert (page.locator("img").count(), broken) == (40, 0)


@pytest.mark.parametrize("look", LOOKS)
def test_text_is_readable(visit, report, look):
    page = visit(report, **LOOKS[look])
    count, faint = page.evaluate(FAINT)
    assert count > 400
    assert faint == []


def test_axes_follow_the_scheme_and_paper_is_white(visit, report):
    inks = {}
    for look, media in LOOKS.items():
        page = visit(report, **media)
        paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        axis = page.evaluate("getComputedStyle(document.querySelector('#accuracy ~ figure path[style*=currentColor]')).stroke")
        inks[look] = paper, axis
    assert inks["print"] == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    assert inks["light"][0] == "rgb(255, 255, 255)"
    assert inks["dark"] == ("rgb(21, 24, 28)", "rgb(230, 232, 234)")


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_page_is_never_wider_than_the_screen(visit, report, tmp_path, size):
    many = write_report([make_run(tmp_path / f"run-{n}", tasks=20, seed=n) for n in range(3)], tmp_path / "many.html")
    names = ["a name without any break " + "x" * 200, *(f"class {n}" for n in range(50))]
    few = write_evaluation(evaluation(names[:25]), tmp_path / "few.html", images=judged(tmp_path, names[:25]))
    all_names = write_evaluation(evaluation(names), tmp_path / "evaluation.html", images=judged(tmp_path, names))
    for file in (report, many, few, all_names):
        page = visit(file, size)
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_names_above_a_confusion_matrix_stay_in_their_cells(visit, tmp_path, size):
    names = ["a name without any break " + "x" * 120, *HOSTILE]
    page = visit(write_evaluation(evaluation(names), tmp_path / "page.html", images=judged(tmp_path, names)), size)
    inside = """each => [each.firstElementChild, each].map(part => part.getBoundingClientRect())"""
    for heading in page.locator(".confusion thead th:not(:first-child)").all():
        name, cell = heading.evaluate(inside)
        assert name["top"] >= cell["top"]
        assert name["bottom"] <= cell["bottom"]
        assert name["height"] < 200
    one_line = (
        "[...document.querySelectorAll('.words thead th')].map(each => [each.textContent, each.scrollWidth > each.clientWidth])"
    )
    assert [text for text, cut in page.evaluate(one_line) if cut] == []
    heads = page.locator(".words thead th", has_text="images")
    assert heads.count() == 1
    assert heads.evaluate("each => each.getBoundingClientRect().height") < 60, "no word is broken"


def judged(folder, names):
    """An image for each class, each third of which got a wrong answer."""
    images = []
    for number, name in enumerate(names):
        file = folder / ("a file name without any break " + "x" * 150 + f"{number}.png")
        Image.new("RGB", (200, 120), (5 * number % 255, 80, 160)).save(file)
        answer = name if number % 3 else names[(number + 1) % len(names)]
        images.append(JudgedImage(file, name, answer, 0.9, 0.05, 0.5, 0.4, 0.5))
    return images


@pytest.mark.parametrize("classes", [25, 51])
def test_mistakes_are_readable_and_their_table_is_downloaded(visit, tmp_path, classes):
    names = [*HOSTILE, *(f"class {n}" for n in range(classes))][:classes]
    file = write_evaluation(evaluation(names), tmp_path / "page.html", images=judged(tmp_path, names))
    for look in LOOKS.values():
        page = visit(file, **look)
        assert page.messages == []
        assert page.evaluate(FAINT)[1] == []
        assert page.get_by_role("img", name="Confusion matrix").count() == (classes > 30)
        assert page.get_by_role("region", name="Number of images").count() == (classes <= 30)
    broken = page.evaluate("[...document.images].filter(image => !image.naturalWidth).length")
    assert (page.locator(".mistakes img").count(), broken) == (-(-classes // 3), 0)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download answers.csv").click()
    assert download.value.suggested_filename == "answers.csv"
    assert download.value.path().read_text(encoding="utf-8").startswith("image,class,answer,confidence")
    page.locator(".mistakes a").first.click()
    assert page.url.endswith("#correct")


def test_the_numbers_of_figures_are_printed(visit, report):
    page = visit(report, **LOOKS["print"])
    assert page.get_by_role("region", name="Accuracy after each task, %").is_visible()
    assert not page.get_by_role("region", name="zero-shot: accuracy on each task, %").is_visible()
    page.emulate_media(**LOOKS["light"])
    assert not page.get_by_role("region", name="Accuracy after each task, %").is_visible()


def test_the_page_has_a_title_and_its_figures_have_descriptions(visit, report):
    page = visit(report)
    figure = page.get_by_role("img", name="Accuracy over all classes seen, after each task")
    assert figure.count() == 1
    assert "joint" in page.locator("#accuracy-0-desc").text_content()
    assert page.title() == "made-up"


def test_an_evaluation_is_readable(visit, tmp_path):
    names = [*HOSTILE, *(f"class {n}" for n in range(50))]
    file = write_evaluation(evaluation(names), tmp_path / "page.html")
    for look in LOOKS.values():
        page = visit(file, **look)
        assert page.messages == []
        assert page.get_by_role("img", name="Accuracy against confidence").is_visible()
