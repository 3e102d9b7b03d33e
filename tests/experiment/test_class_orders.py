"""Tables of runs over several class orders and seeds at once."""

import csv
import json

import numpy as np
import pytest

SMALL = ("tasks=2", "classes_per_task=2", "train_per_class=3", "test_per_class=2", "methods=zero-shot,simplecil")


def test_each_class_order_runs_with_every_seed(mgclip, tmp_path):
    out = tmp_path / "both"
    words = (*SMALL, "--out", out, "--class-orders", "1993-1994", "--quiet")
    assert mgclip("reproduce", "icons100-5x10", *words)[0] == 0
    stamps = {file: file.stat().st_mtime_ns for file in out.rglob("records.jsonl")}
    code, printed, err = mgclip("reproduce", "icons100-5x10", *words, "--seeds", 2, "--json")
    assert (code, err) == (0, "")
    assert stamps.items() <= {file: file.stat().st_mtime_ns for file in out.rglob("records.jsonl")}.items()  # only new ones run
    folders = sorted(file.parent.name for file in out.rglob("recipe.yaml"))
    assert folders == ["class-order-1993", "class-order-1993-seed-1", "class-order-1994", "class-order-1994-seed-1"]
    lasts = [json.loads(file.read_text())["simplecil"]["last"] for file in out.glob("icons100-5x10/*/summary.json")]
    row = next(row for row in json.loads(printed)["rows"] if row["method"] == "simplecil")
    assert (row["seeds"], row["over"]) == (4, "combinations of class order and seed")
    assert row["values"]["Last"] == [pytest.approx(np.mean(lasts)), pytest.approx(np.std(lasts, ddof=1))]
    assert "mean and standard deviation over combinations of class order and seed" in (out / "icons100-5x10.tex").read_text()
    with (out / "icons100-5x10-seeds.csv").open(encoding="utf-8") as file:
        own = [(line["class order"], line["seed"]) for line in csv.DictReader(file) if line["method"] == "simplecil"]
    assert own == [("1993", "0"), ("1993", "1"), ("1994", "0"), ("1994", "1")]
    with (out / "icons100-5x10-pairs.csv").open(encoding="utf-8") as file:
        (pair,) = csv.DictReader(file)
    assert pair["combinations of class order and seed"] == "4"
    assert len(pair["McNemar p of each run"].split()) == 4
