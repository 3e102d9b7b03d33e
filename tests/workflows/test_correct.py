"""Corrected answers: a table gives images their right classes, exactly as if they had been learned in them."""

import json
import os
import shutil

import forked
import pytest
from icon_tasks import month_folders
from PIL import Image

from mgclip import MGCLIP, history
from mgclip.method.methods import ANALYTIC
from mgclip.workflows.correct import read_corrections
from mgclip.workflows.held_out import paths, read_held_out


@pytest.fixture
def place(icons, tmp_path, tiny_clip, mgclip, monkeypatch):
    """A model of three classes from four drawings each, one of them in the wrong folder; the current folder."""
    month_folders(icons, tmp_path, {"march": (0, 1, 2)}, 4)
    monkeypatch.chdir(tmp_path)
    a, b = (str(name) for name in icons["class_names"][:2])
    (tmp_path / "march" / a / "0.png").rename(tmp_path / "march" / b / "stray.png")
    words = ("--base", tiny_clip, "features=64", "--hold-out", 0, "--quiet")
    assert mgclip("learn", "march", "--model", "shop", *words)[0] == 0
    return tmp_path


def table(place, *rows, name="answers.csv", head="image,class"):
    (place / name).write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return name


def test_corrections_equal_learning_from_the_right_folders(mgclip, place, icons, tiny_clip):
    a, b, c = (str(name) for name in icons["class_names"][:3])
    Image.fromarray(icons["x_train"][12 * 2 + 7]).save(place / "new.png")
    rows = f"march/{b}/stray.png,{a}", f"new.png,{c}", f"march/{c}/0.png,{c}"
    code, out, _ = mgclip("correct", "shop", table(place, *rows))
    assert code == 0
    assert f"1 image moved from {b}; 1 image added that was not learned before; 1 image already learned in the right class" in out
    corrected = MGCLIP.from_pretrained("shop")
    right = MGCLIP.from_pretrained(
        tiny_clip, settings={**corrected.settings.model_dump(), "gamma": corrected.solved.fourier.gamma}
    )
    x, labels = [], []
    for label, numbers in enumerate((range(4), range(4), (0, 1, 2, 3, 7))):
        x += [icons["x_train"][12 * label + number] for number in numbers]
        labels += [label] * len(numbers)
    right.learn(x, labels, [a, b, c])
    # Some processors round the features of one image differently from those of many.
    assert corrected.solved.weights.numpy() == pytest.approx(right.solved.weights.numpy(), rel=1e-5, abs=1e-6)
    note = history("shop")[-1].note
    assert (note["what"], note["moved"], note["images"]) == ("corrected 2 images", {b: 1}, 2)
    assert note["classes"] == [a, c]
    code, out, _ = mgclip("correct", "shop", "answers.csv", "--json")
    assert json.loads(out) == {"model": "shop", "images": 3, "added": 0, "moved": {}, "unchanged": 3}
    assert len(history("shop")) == 2


def test_a_table_of_predict_can_be_corrected_and_given_back(mgclip, place):
    printed = mgclip("predict", "shop", "march", "--csv", "--top", 2)[1]
    (place / "answers.csv").write_text(printed)
    code, out, _ = mgclip("correct", "shop", "answers.csv", "--json")
    assert code == 0
    assert json.loads(out)["images"] == 12


def test_a_table_that_a_spreadsheet_has_saved_with_decimal_commas_can_be_given_back(mgclip, place):
    lines = mgclip("predict", "shop", "march", "--csv", "--top", 2)[1].replace(",", ";").replace(".", ",").replace(",png", ".png")
    head, *rows = lines.splitlines()
    text = "\r\n".join([f"{head};;;", *(f"{row};;note;checked" for row in rows)])
    (place / "answers.csv").write_text(text, encoding="utf-8-sig", newline="")
    code, out, err = mgclip("correct", "shop", "answers.csv", "--json")
    assert code == 0, err
    assert json.loads(out)["images"] == 12


def test_the_address_of_a_table_is_refused_as_it_was_given(mgclip, place):
    address = "https://shop.example/answers.csv"
    code, _, err = mgclip("correct", "shop", address)
    assert (code, f"{address} is an address, not a table of answers: download the table" in err) == (2, True), err


def test_paths_are_relative_to_the_table_or_to_the_current_folder(mgclip, place, icons, monkeypatch):
    a, b = (str(name) for name in icons["class_names"][:2])
    (place / "tables").mkdir()
    name = table(place, f"march/{b}/stray.png,{a}", f"../march/{b}/1.png,{b}", name="tables/t.csv")
    code, out, _ = mgclip("correct", "shop", name, "--json")
    assert code == 0
    assert json.loads(out)["moved"] == {b: 1}


ODD = [b"line\rend.png", b"two\r\nlines.png", b" space.png", b'"quoted", comma.png', b"caf\xe9.png"]
"""Names of files that a table must quote, or that are not UTF-8."""


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_table_gives_back_the_image_of_any_file_name(mgclip, place, icons, command):
    a = str(icons["class_names"][0])
    (place / "odd" / a).mkdir(parents=True)
    for i, name in enumerate(ODD):
        Image.fromarray(icons["x_train"][4 + i]).save(place / "odd" / a / os.fsdecode(name), "png")
    if command == "predict":
        running = forked.start("predict", "shop", "odd", "--csv", "--quiet", cwd=place, log=place / "answers.csv")
        running.process.join(100)
    else:
        assert mgclip("evaluate", "shop", "odd", "--csv", "answers.csv")[0] == 0
    assert {os.fsencode(file.name) for file in read_corrections(place / "answers.csv")} == set(ODD)


def test_a_table_that_is_not_utf8_is_refused(mgclip, place, icons):
    a = str(icons["class_names"][0])
    for line, number in ((f"march/{a}/1.png,crème", 2), (f"crème.png,{a}", 2), ("x,klassé", 1)):
        head = "image,klassé" if number == 1 else "image,class"
        (place / "answers.csv").write_bytes(f"{head}\n{line}\n".encode("cp1252"))
        code, _, err = mgclip("correct", "shop", "answers.csv")
        sentence = f"Line {number} of the table of answers answers.csv is not UTF-8: save it as CSV in UTF-8."
        assert (code, sentence in err) == (2, True), err


@pytest.mark.parametrize("given", ["the image", "a copy of it"])
def test_a_held_out_image_that_is_learned_is_not_measured_on(mgclip, place, icons, given):
    a = str(icons["class_names"][0])
    (place / "new" / a).mkdir(parents=True)
    for i in range(5):
        Image.fromarray(icons["x_train"][5 + i]).save(place / "new" / a / f"{i}.png")
    assert mgclip("learn", "new", "--model", "shop", "--quiet")[0] == 0
    held = paths(read_held_out(place / "shop"))
    (file,) = held[a]
    if given == "a copy of it":
        file = shutil.copy(file, place / "copy.png")
    code, _, _ = mgclip("correct", "shop", table(place, f"{file},{a}"))
    assert code == 0
    held = paths(read_held_out(place / "shop"))
    assert held.get(a, []) == []


@pytest.mark.parametrize(
    ("rows", "head", "sentence"),
    [
        (["a.png,{a}"], "image,class", "Line 2 of answers.csv: there is no image a.png"),
        (
            ["march/{a}/1.png,zebra"],
            "image,class",
            "Line 2 of answers.csv: The model has not learned the class 'zebra'",
        ),
        (
            ["march/{a}/1.png,unknown"],
            "image,class",
            "Line 2 of answers.csv: the image is unknown: give its class, or remove the line.",
        ),
        (["march/{a}/1.png,"], "image,class", "Line 2 of answers.csv needs an image and its right class"),
        (["march/{a}/1.png,{a}"], "image,name", "must have the columns image and class once; found 'image,name'"),
        ([], "image,class", "answers.csv lists no image"),
        (["march/{a}/1.png,{a},x"], "image,class", "Line 2 of answers.csv has 3 cells for the 2 columns"),
        (["march/{a}/1.png,{a}", "./march/{a}/1.png,{b}"], "image,class", "two classes"),
        (
            ["march/{a}/1.png,{a}", "copy.png,{b}"],
            "image,class",
            "copy.png have the same pixels but different classes",
        ),
        (["cut.png,{a}"], "image,class", "Line 2 of answers.csv: "),
    ],
)
def test_a_wrong_table_changes_nothing(mgclip, place, icons, rows, head, sentence):
    a, b = (str(name) for name in icons["class_names"][:2])
    shutil.copy(place / "march" / a / "1.png", place / "copy.png")
    (place / "cut.png").write_bytes(b"cut")
    before = (place / "shop" / "mgclip.json").read_bytes()
    code, out, err = mgclip("correct", "shop", table(place, *(row.format(a=a, b=b) for row in rows), head=head))
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert (place / "shop" / "mgclip.json").read_bytes() == before


def test_a_missing_table_and_a_trained_head_are_refused(mgclip, place, icons, tiny_clip):
    assert "There is no table of answers none.csv" in mgclip("correct", "shop", "none.csv")[2]
    words = ("--base", tiny_clip, "--method", "simplecil", "--quiet")
    assert mgclip("learn", "march", "--model", "trained", *words)[0] == 0
    a = str(icons["class_names"][0])
    code, _, err = mgclip("correct", "trained", table(place, f"march/{a}/1.png,{a}"))
    assert code == 2
    assert "A model with a trained head cannot correct single images" in err
    for rows in ([f"march/{a}/1.png,zebra"], ["none.png,zebra"], []):  # no table would do
        assert "A model with a trained head cannot correct" in mgclip("correct", "trained", table(place, *rows))[2]
    assert "A model with a trained head cannot correct" in mgclip("correct", "trained", "none.csv")[2]


def test_files_with_the_same_pixels_and_two_classes_are_named(mgclip, place, icons):
    a, b = (str(name) for name in icons["class_names"][:2])
    files = [shutil.copy(f"march/{a}/{source}.png", f"{name}.png") for name, source in (("x", 1), ("y", 2), ("z", 2))]
    rows = f"2,{files[0]},{b}", f"1,{files[1]},{a}", f"1,{files[2]},{b}"
    code, _, err = mgclip("correct", "shop", table(place, *rows, head="rank,image,class"))
    assert (code, f"{place / 'y.png'} and {place / 'z.png'} have the same pixels but different classes" in err) == (2, True)


def test_copies_of_one_image_are_corrected_once(mgclip, place, icons):
    a, b = (str(name) for name in icons["class_names"][:2])
    shutil.copy(place / "march" / b / "stray.png", place / "copy.png")
    code, _, _ = mgclip("correct", "shop", table(place, f"march/{b}/stray.png,{a}", f"copy.png,{a}"))
    assert code == 0
    assert MGCLIP.from_pretrained("shop").solved.sums.counts.tolist() == pytest.approx([4, 4, 4])


def test_every_copy_learned_in_a_wrong_class_is_moved(tiny_clip, icons):
    x = icons["x_train"]
    model = MGCLIP.from_pretrained(tiny_clip, settings={**ANALYTIC, "features": 32})
    model.learn([x[0], x[0], x[0], x[12], x[24]], ["a", "b", "b", "b", "c"], ["a", "b", "c"])
    assert model.learned_as([x[0], x[12], x[99]]) == [("a", "b"), ("b",), ()]
    assert model.correct([x[0], x[0]], ["a", "a"]) == ["b", "b"]
    assert model.learned_as([x[0]]) == [("a",)]
    assert model.solved.sums.counts.tolist() == pytest.approx([3, 1, 1])
