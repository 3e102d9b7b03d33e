"""``mgclip predict``: the answer *unknown*, and candidates."""

import csv
import json
import shutil

import pytest

from mgclip.app.studio.work import StudioModel
from mgclip.errors import InputError
from mgclip.workflows.answers import BRANCHES, COLUMNS


@pytest.mark.parametrize("name", ["unknown", "Unknown"])
def test_a_threshold_is_rejected_if_a_class_is_called_unknown(shop, tmp_path, mgclip, name):
    shutil.copytree(shop / "m", tmp_path / "m")
    photos = shop / "photos"
    code, out, err = mgclip(
        "predict", tmp_path / "m", photos, "--unknown-below", "0.5", "--candidates", f"a zebra,{name}", "--csv"
    )
    assert (code, out) == (2, "")
    assert f"A class is called '{name}', which is the answer for unknown images" in err
    assert mgclip("relabel", tmp_path / "m", "čaj", name)[0] == 0
    code, out, _ = mgclip("predict", tmp_path / "m", photos, "--csv", "--top", "3", "--quiet")
    assert name in {row["class"] for row in csv.DictReader(out.splitlines())}
    for form in ((), ("--json",), ("--csv",)):
        code, out, err = mgclip("predict", tmp_path / "m", photos, "--unknown-below", "0.5", *form)
        assert (code, out) == (2, "")
        assert f"A class is called '{name}'" in err
    studio = StudioModel(tmp_path / "m", base="")
    files = sorted(photos.glob("*/*.png"))
    with pytest.raises(InputError, match=f"A class is called '{name}'"):
        studio.predict(files, threshold=0.5)
    assert len(studio.predict(files)[0]) == len(files)


def test_old_names_of_options_work_for_one_more_release(shop, mgclip):
    new = mgclip("predict", shop / "m", shop / "photos", "--unknown-below", "0.9", "--candidates=a zebra", "--json")
    old = mgclip("predict", shop / "m", shop / "photos", "--unknown", "0.9", "--also=a zebra", "--json")
    assert new == old
    assert new[0] == 0
    assert mgclip("predict", shop / "m", shop / "photos", "--json")[1] != new[1], "the options have an effect"


def test_json_csv_and_text_give_the_same_answers(shop, mgclip):
    words = ("predict", shop / "m", shop / "photos", "--top", 4, "--branches", "--candidates", "a zebra")
    found = [json.loads(line) for line in mgclip(*words, "--json")[1].splitlines()]
    rows = list(csv.DictReader(mgclip(*words, "--csv")[1].splitlines()))
    lines = mgclip(*words)[1].splitlines()
    assert list(rows[0]) == [*COLUMNS, *BRANCHES]
    assert len(found) == len(lines) == len(rows) / 4 == 6
    for number, (answer, line) in enumerate(zip(found, lines, strict=True)):
        assert list(answer) == ["image", "class", "best", "confidence", "likeness", "top"]
        words = []
        for rank, best in enumerate(answer["top"]):
            row = rows[4 * number + rank]
            assert [row["image"], row["rank"], row["class"]] == [answer["image"], str(rank + 1), best["class"]]
            assert row["best"] == best["class"]
            assert [float(row[key]) for key in ("confidence", "text")] == [best[key] for key in ("confidence", "text")]
            assert row["head"] == ("" if best["head"] is None else str(best["head"]))
            head = "-" if best["head"] is None else f"{best['head']:.4f}"
            words.append(f"{best['class']} {best['confidence']:.4f} (text {best['text']:.4f}, head {head})")
        assert line == "\t".join([answer["image"], *words])
        assert [best["class"] for best in answer["top"] if best["head"] is None] == ["a zebra"]
        confidences = [best["confidence"] for best in answer["top"]]
        assert answer["confidence"] == max(confidences), "the number shown decides"
        assert confidences == sorted(confidences, reverse=True)


def test_an_unknown_image_shows_why_and_the_answer_without_a_threshold(shop, mgclip):
    words = ("predict", shop / "m", shop / "photos", "--unknown-below", "1")
    known = [json.loads(line) for line in mgclip(*words[:3], "--json")[1].splitlines()]
    answers = [json.loads(line) for line in mgclip(*words, "--json")[1].splitlines()]
    rows = list(csv.DictReader(mgclip(*words, "--csv")[1].splitlines()))
    lines = mgclip(*words)[1].splitlines()
    for before, answer, row, line in zip(known, answers, rows, lines, strict=True):
        assert (answer["class"], answer["best"]) == ("unknown", before["class"])
        assert (row["class"], row["best"]) == ("unknown", before["class"])
        about = f"likeness {answer['likeness']:.4f}; otherwise {before['class']} {before['confidence']:.4f}"
        assert line == f"{answer['image']}\tunknown ({about})"


def test_predict_in_a_process_that_is_not_the_first_says_why_it_prints_nothing(mgclip, monkeypatch, shop):
    """As in a shell whose variables were left by torchrun."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    code, out, err = mgclip("predict", shop / "m", shop / "photos")
    assert (code, out) == (0, "")
    assert "`mgclip predict` runs in one process, the one with RANK=0; to run it in this one, unset WORLD_SIZE." in err
    monkeypatch.delenv("WORLD_SIZE")
    assert len(mgclip("predict", shop / "m", shop / "photos", "--quiet")[1].splitlines()) == 6


def test_a_comma_after_the_last_candidate_adds_none(shop, mgclip):
    words = ("predict", shop / "m", shop / "photos", "--quiet", "--candidates")
    assert mgclip(*words, "a zebra, a lion,") == mgclip(*words, "a zebra,a lion")


def test_a_model_of_one_class_says_that_its_confidence_says_nothing(shop, tiny_clip, mgclip, tmp_path):
    photos, model = tmp_path / "photos", tmp_path / "one"
    shutil.copytree(next(each for each in (shop / "photos").iterdir() if each.is_dir()), photos / "cat")
    words = ("--model", model, "--base", tiny_clip, "--test", photos, "--quiet", "features=16")
    assert mgclip("learn", photos, *words)[0] == 0
    alone = "the model knows a single class, so its confidence in that class is 100 % for every image"
    assert alone in mgclip("predict", model, photos)[2]
    assert alone not in mgclip("predict", model, photos, "--candidates", "a zebra")[2]
    assert alone not in mgclip("predict", shop / "m", photos)[2]
    assert alone in mgclip("evaluate", model, photos)[1]
    assert "100.00" not in mgclip("history", model)[1]
