"""What evaluating a folder reports, and what a solved head says about itself."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from icon_tasks import month_folders, task
from layouts import write_pictures
from PIL import Image

from mgclip import MGCLIP
from mgclip.method.methods import ANALYTIC
from mgclip.workflows.held_out import read_held_out


def test_learned_classes_without_images_are_reported(tmp_path, mgclip, tiny_clip):
    write_pictures(tmp_path / "d", "cat/a.png", "dog/b.png", "star/c.png")
    words = ("--model", tmp_path / "m", "--base", tiny_clip, "--hold-out", "0", "--quiet", "features=16")
    assert mgclip("learn", tmp_path / "d", *words)[0] == 0
    assert "not measured" not in mgclip("evaluate", tmp_path / "m", tmp_path / "d")[1]
    (tmp_path / "d" / "star").rename(tmp_path / "elsewhere")
    code, out, _ = mgclip("evaluate", tmp_path / "m", tmp_path / "d")
    assert code == 0
    assert "learned classes without images here, so not measured: star" in out
    assert json.loads(mgclip("evaluate", tmp_path / "m", tmp_path / "d", "--json")[1])["unmeasured"] == ["star"]


def test_a_solved_head_proposes_thresholds_without_test_images(tmp_path, mgclip, tiny_clip, icons):
    settings = {**ANALYTIC, "features": 64}
    model = MGCLIP.from_pretrained(tiny_clip, settings=settings)
    images, labels, names = task(icons, [0, 1])
    model.learn(images, labels, names)
    model.save_pretrained(tmp_path / "m")
    found = json.loads(mgclip("evaluate", tmp_path / "m", "--json")[1])
    likeness, right = [], []
    for out in range(len(images)):  # the slow way: learn all images but one
        others = [i for i in range(len(images)) if i != out]
        left_out = MGCLIP.from_pretrained(tiny_clip, settings={**settings, "gamma": model.solved.fourier.gamma})
        left_out.learn([images[i] for i in others], [labels[i] for i in others], names)
        answer = left_out.predict([images[out]])
        likeness.append(answer.likeness[0])
        right.append(answer.names[0] == names[labels[out]])
    assert found["leave_one_out"] == pytest.approx(np.mean(right), abs=0.1)
    assert found["likeness"]["90"] == pytest.approx(np.quantile(likeness, 0.1), abs=0.15)
    code, out, _ = mgclip("evaluate", tmp_path / "m")
    assert code == 0
    least = f"{found['likeness']['95']:.3f}"
    assert f"95 % of learned images (each left out in turn) have a likeness of at least {least}" in out
    assert "--unknown-below" in out


def test_a_stored_threshold_and_the_active_branch_are_taken_into_account(tmp_path, mgclip, tiny_clip, icons):
    month_folders(icons, tmp_path, {"march": range(3)}, 8)
    shop, photos = tmp_path / "shop", tmp_path / "march"
    assert mgclip("learn", photos, "--model", shop, "--base", tiny_clip, "--hold-out", "0", "features=64", "--quiet")[0] == 0
    assert json.loads(mgclip("evaluate", shop, photos, "--json")[1])["unknown"] is None
    likeness = [json.loads(line)["likeness"] for line in mgclip("predict", shop, photos, "--json")[1].splitlines()]
    least = f"{np.median(likeness):.3f}"
    mgclip("set", shop, f"unknown_below={least}")
    answers = [json.loads(line)["class"] for line in mgclip("predict", shop, photos, "--json")[1].splitlines()]
    share = answers.count("unknown") / len(answers)
    assert 0 < share < 1
    out = mgclip("evaluate", shop, photos)[1]
    assert f"{100 * share:.2f} % of them are below the stored threshold for unknown images ({float(least):g})" in out
    instead = f"instead of the stored {float(least):g}"
    assert instead in out and instead in mgclip("evaluate", shop)[1]
    assert json.loads(mgclip("evaluate", shop, photos, "--json")[1])["unknown"] == {
        "below": float(least),
        "share": pytest.approx(share),
    }
    code, _, err = mgclip("set", shop, "branches=text")
    assert (code, "set unknown_below=0" in err) == (2, True)
    assert mgclip("set", shop, "branches=text", "unknown_below=0")[0] == 0
    assert "--unknown-below" not in mgclip("evaluate", shop)[1], "predict would refuse it"
    mgclip("set", shop, "branches=image")
    out = mgclip("evaluate", shop)[1]
    assert "branch only" not in out and "- %" not in out


def test_images_that_were_learned_are_counted(tmp_path, mgclip, tiny_clip, icons):
    month_folders(icons, tmp_path, {"march": range(2)}, 5)
    shop, photos = tmp_path / "shop", tmp_path / "march"
    assert mgclip("learn", photos, "--model", shop, "--base", tiny_clip, "features=64", "--quiet")[0] == 0
    page, table = tmp_path / "e.html", tmp_path / "e.csv"
    found = json.loads(mgclip("evaluate", shop, photos, "--json", "--page", page, "--csv", table)[1])
    held_out = {str(image.path) for own in read_held_out(shop).values() for image in own}
    rows = [row for row in csv.DictReader(table.read_text().splitlines()) if row["image"] in held_out]
    right = sum(row["class"] == row["answer"] for row in rows)
    assert (found["learned"], len(rows), found["others_accuracy"]) == (8, 2, right / 2)
    sentence = f"he model has learned 8 of these 10 images; accuracy on the 2 not learned: {50 * right:.2f} %"
    assert sentence in page.read_text(encoding="utf-8")
    code, out, _ = mgclip("evaluate", shop, photos)
    assert (code, sentence in out) == (0, True)
    for file in held_out:
        Path(file).unlink()
    assert "learned all of these images, so the accuracy says little" in mgclip("evaluate", shop, photos)[1]
    for name in map(str, icons["class_names"][:2]):
        for file in photos.glob(f"{name}/*"):
            Image.open(file).rotate(90).save(file)
    assert "the model has learned" not in mgclip("evaluate", shop, photos)[1]


def test_files_that_cannot_be_written_are_refused_before_anything_is_measured(tmp_path, mgclip, monkeypatch):
    write_pictures(tmp_path, "d/cat/a.png", "d/dog/b.png")
    words = ("--model", tmp_path / "m", "--base", "iconclip", "--hold-out", "0", "--quiet", "features=16")
    assert mgclip("learn", tmp_path / "d", *words)[0] == 0
    monkeypatch.setattr("mgclip.workflows.evaluate.evaluate_images", None)
    (tmp_path / "link").symlink_to("x.csv")
    for files, sentence in (
        (("--csv", tmp_path), f"{tmp_path} cannot be written, because it is a folder: give another file."),
        (("--page", tmp_path), f"{tmp_path} cannot be written, because it is a folder: give another file."),
        (("--csv", tmp_path / "x.csv", "--page", tmp_path / "link"), "--csv and --page are the same file"),
    ):
        code, out, err = mgclip("evaluate", tmp_path / "m", tmp_path / "d", *files)
        assert (code, out, sentence in err) == (2, "", True), err


def test_without_a_folder_a_trained_head_and_files_are_refused(tmp_path, mgclip, tiny_clip, icons):
    for name, settings in (("trained", {"epochs": 0, "head_epochs": 0}), ("solved", {**ANALYTIC, "features": 16})):
        model = MGCLIP.from_pretrained(tiny_clip, settings=settings)
        model.learn(*task(icons, [0]))
        model.save_pretrained(tmp_path / name)
    assert "Only a solved head can be measured without images" in mgclip("evaluate", tmp_path / "trained")[2]
    code, _, err = mgclip("evaluate", tmp_path / "solved")
    assert code == 2
    assert "says nothing about the model: give a folder" in err
    code, _, err = mgclip("evaluate", tmp_path / "solved", "--csv", tmp_path / "x.csv")
    assert code == 2
    assert "give a folder" in err
    assert not (tmp_path / "x.csv").exists()
