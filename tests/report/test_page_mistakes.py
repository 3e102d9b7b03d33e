"""The mistakes on the page of an evaluation: confusion matrix, pictures, and a table that ``mgclip correct`` reads."""

import csv
import io
from urllib.parse import unquote

import numpy as np
import pytest
from icon_tasks import month_folders
from made_runs import HOSTILE, evaluation
from PIL import Image
from report_pages import cells, read

from mgclip.experiment.evaluation import JudgedImage
from mgclip.report.page import write_evaluation
from mgclip.report.page_mistakes import MAX_PICTURES, confusions, mistakes_of, taken_for


def judged(folder, pairs, names):
    """An image for each pair of a class and an answer; the later, the more confident."""
    images = []
    for number, (truth, answer) in enumerate(pairs):
        file = folder / f"image {number}.png"
        Image.new("RGB", (300, 200), (20 * (number % 12), 80, 160)).save(file)
        sure = 0.3 + 0.6 * number / len(pairs)
        own = sure if truth == answer else 0.01
        images.append(JudgedImage(file, names[truth], names[answer], sure, own, 0.5, 0.4, 0.5))
    return images


def test_a_small_matrix_has_names_and_counts(tmp_path):
    images = judged(tmp_path, [(0, 0), (0, 1), (0, 1), (1, 1)], HOSTILE)
    file = write_evaluation(evaluation(HOSTILE), tmp_path / "page.html", images=images)
    page = read(file)
    rows = cells(file.read_text(encoding="utf-8"), "Number of images")
    assert len(rows) == 3, "a row for each class with images"
    assert [row[1:3] for row in rows[1:]] == [["1", "2"], ["", "1"]]
    assert "h67" in file.read_text(encoding="utf-8"), "two thirds of the first class are taken for the second"
    for name in HOSTILE:
        assert name in page.texts


def test_a_matrix_of_a_hundred_classes_is_a_figure_with_the_numbers_of_the_table(tmp_path):
    names = [f"class {n}" for n in range(100)]
    images = judged(tmp_path, [(n, n if n % 4 else (n + 1) % 100) for n in range(100)], names)
    file = write_evaluation(evaluation(names), tmp_path / "page.html", images=images)
    page, text = read(file), file.read_text(encoding="utf-8")
    assert any(attrs.get("aria-labelledby") == "confusion-title" for attrs in page.all("svg"))
    assert "75.0 % of the images are on the diagonal" in page.text
    rows = cells(text, "All classes")
    assert rows[0][1] == "number"
    assert rows[5][:2] == ["class 4", "5"]
    assert rows[5][-1] == "class 5 (1)"
    assert rows[6][-1] == ""


def test_an_answer_from_right_to_left_keeps_its_number(tmp_path):
    images = judged(tmp_path, [(1, 0), (1, 0), (1, 2)], ["قطة", "cat", "<b>"])
    assert taken_for(images)["cat"] == "<bdi>قطة</bdi> (2), <bdi>&lt;b&gt;</bdi> (1)"
    file = write_evaluation(evaluation(["قطة", "cat", "<b>"]), tmp_path / "page.html", images=images)
    assert "<td><bdi>قطة</bdi> (2), <bdi>&lt;b&gt;</bdi> (1)</td>" in file.read_text(encoding="utf-8")


def test_no_matrix_is_drawn_of_thousands_of_classes(tmp_path):
    names = [f"class {n}" for n in range(2000)]
    assert confusions(judged(tmp_path, [(0, 1)], names), names) is None


def test_the_worst_mistakes_come_first_with_their_pictures_and_scores(tmp_path):
    images = judged(tmp_path, [(0, 1), (1, 1), (1, 0)], HOSTILE)
    (tmp_path / "image 0.png").write_bytes(b"damaged since")
    found = mistakes_of(images, HOSTILE, "my shop")
    assert found.count == 2
    assert [each.name for each in found.worst] == ["image 2.png", "image 0.png"]
    assert [each.uri is None for each in found.worst] == [False, True]
    assert found.worst[0].scores == "70.0 % confident, 1.0 % in its class, likeness 0.50"
    assert found.command == "mgclip correct 'my shop' answers.csv"
    page = read(write_evaluation(evaluation(HOSTILE), tmp_path / "page.html", images=images))
    assert [attrs["alt"] for attrs in page.all("img")] == [f"An image of {HOSTILE[1]}, predicted as {HOSTILE[0]}"]
    assert "images got a wrong answer. A name links to" in page.text


def test_the_page_does_not_grow_with_the_number_of_mistakes(tmp_path):
    image = judged(tmp_path, [(0, 1)], HOSTILE)[0]
    found = mistakes_of([image] * 20_000, HOSTILE, "shop")
    assert (found.count, len(found.worst), found.rows) == (20_000, MAX_PICTURES, 5000)
    page = read(write_evaluation(evaluation(HOSTILE), tmp_path / "page.html", images=[image] * 20_000))
    assert "with the largest confidence" in page.text


def test_without_mistakes_nothing_is_to_correct(tmp_path):
    page = read(write_evaluation(evaluation(HOSTILE), tmp_path / "page.html", images=judged(tmp_path, [(0, 0)], HOSTILE)))
    assert "There are none: all answers are right." in page.text
    assert "answers.csv" not in page.text


@pytest.mark.parametrize("correctable", [True, False])
def test_the_table_of_the_page_corrects_the_model(tmp_path, mgclip, tiny_clip, icons, correctable):
    """The page that the command writes, its table downloaded elsewhere, and the command that the page shows."""
    names = list(map(str, icons["class_names"][:2]))
    for part, chosen in (("train", (0, 1)), ("test", (1, 0))):  # the folders of the test images have the wrong names
        for c, folder in zip(chosen, names, strict=True):
            (tmp_path / part / folder).mkdir(parents=True)
            for i in range(4):
                Image.fromarray(icons["x_train"][12 * c + i + 4 * (part == "test")]).save(tmp_path / part / folder / f"{i}.png")
    method = [] if correctable else ["--method", "mg-clip", "epochs=1", "head_epochs=1"]
    words = ("--model", tmp_path / "shop", "--base", tiny_clip, "--hold-out", "0", "--quiet", *method)
    assert mgclip("learn", tmp_path / "train", *words)[0] == 0
    code, _, err = mgclip("evaluate", tmp_path / "shop", tmp_path / "test", "--page", tmp_path / "page.html")
    assert (code, err) == (0, "")
    page = read(tmp_path / "page.html")
    links = [attrs["href"] for attrs in page.all("a") if attrs.get("download")]
    if not correctable:
        assert links == []
        assert "The head of this model was trained" in page.text
        return
    table = unquote(links[0].partition(",")[2])
    rows = list(csv.DictReader(io.StringIO(table)))
    assert rows
    assert all(row["class"] in row["image"] != row["answer"] for row in rows)
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "answers.csv").write_text(table)
    code, out, _ = mgclip("correct", tmp_path / "shop", tmp_path / "downloads" / "answers.csv")
    assert code == 0
    assert f"{len(rows)} image" in out


def test_the_csv_has_a_row_for_each_image_that_correct_reads(tmp_path, mgclip, tiny_clip, icons):
    month_folders(icons, tmp_path, {"photos": [0, 1]}, 4)
    words = ("--model", tmp_path / "shop", "--base", tiny_clip, "--hold-out", "0", "--quiet")
    assert mgclip("learn", tmp_path / "photos", *words)[0] == 0
    assert mgclip("evaluate", tmp_path / "shop", tmp_path / "photos", "--csv", tmp_path / "out.csv")[0] == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").open(newline="")))
    assert list(rows[0]) == ["image", "class", "answer", "confidence", "class_confidence", "likeness", "text", "head"]
    assert sorted(row["image"] for row in rows) == sorted(map(str, (tmp_path / "photos").rglob("*.png")))
    predicted = mgclip("predict", tmp_path / "shop", tmp_path / "photos", "--csv", "--branches")[1]
    answers = {row["image"]: row for row in csv.DictReader(io.StringIO(predicted))}
    for row in rows:
        answer = answers[row["image"]]
        assert row["answer"] == answer["class"]
        for key in ("confidence", "likeness", "text", "head"):
            assert float(row[key]) == pytest.approx(float(answer[key]), abs=1e-5)
        assert float(row["class_confidence"]) <= float(row["confidence"])
        if row["answer"] == row["class"]:
            assert row["class_confidence"] == row["confidence"]
    assert np.mean([row["answer"] == row["class"] for row in rows]) > 0.5
    code, out, _ = mgclip("correct", tmp_path / "shop", tmp_path / "out.csv")
    assert code == 0
    assert "8 images already learned in the right class" in out
